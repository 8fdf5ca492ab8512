//! Retry layers inside one another, and the number of the attempt.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use http::{Method, Request};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{Attempts, OriginLimitLayer, RetryBudget, RetryLayer};

use crate::memory_server::{Arrivals, get, ok, request, response, server};

#[tokio::test(start_paused = true)]
async fn of_two_layers_one_retries() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::default();
    let inner = RetryLayer::named("inner").budget(budget.clone());
    let inner = BoxCloneService::new(inner.layer(server(&arrivals, &[response(503, &[])])));
    let between = OriginLimitLayer::new("between").layer(inner);
    let outer = RetryLayer::named("outer").layer(between);
    let get = Request::get("http://api.example/").body(()).unwrap();
    let last = outer.oneshot(get).await.unwrap();
    assert_eq!(arrivals.count(), 3);
    assert_eq!(Attempts::of(last.extensions()), Attempts(3));
    assert_eq!(budget.snapshot().granted, 0);
}

#[tokio::test(start_paused = true)]
async fn another_request_that_a_layer_inside_sends_has_retries_of_its_own() {
    let [tokens, api] = [Arrivals::default(), Arrivals::default()];
    let failing = server(&tokens, &[response(503, &[]), response(503, &[]), ok()]);
    let token_client = RetryLayer::named("tokens").layer(failing);
    let served = server(&api, &[ok()]);
    let authorizing = service_fn(move |request: Request<()>| {
        let (tokens, served) = (token_client.clone(), served.clone());
        async move {
            let token = Request::get("http://auth.example/token").body(()).unwrap();
            assert_eq!(tokens.oneshot(token).await?.status(), 200);
            served.oneshot(request).await
        }
    });
    let call = Request::post("http://api.example/orders").body(()).unwrap();
    let response = RetryLayer::named("api").layer(authorizing).oneshot(call).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!((tokens.count(), api.count()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_used_after_another_one_retries_as_ever() {
    let arrivals = Arrivals::default();
    let service = RetryLayer::new().layer(server(&arrivals, &[response(503, &[])]));
    service.clone().oneshot(get()).await.unwrap();
    service.oneshot(get()).await.unwrap();
    assert_eq!(arrivals.count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_caller_sends_again_is_sent_once_from_here() {
    for field in ["x-previous-attempts", "grpc-previous-rpc-attempts"] {
        let arrivals = Arrivals::default();
        let mut retry = get();
        retry.headers_mut().insert(field, "1".parse().unwrap());
        let service = RetryLayer::new().layer(server(&arrivals, &[response(503, &[])]));
        service.oneshot(retry).await.unwrap();
        assert_eq!(arrivals.count(), 1, "{field}");
    }
}

/// `PREVIOUS_ATTEMPTS`.
const NUMBER: &str = "x-previous-attempts";

/// What each of three attempts says of itself: the header, and the extension.
async fn numbers(
    layer: RetryLayer,
    request: Request<()>,
    field: &'static str,
) -> Vec<(Option<String>, u32)> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    let inner = service_fn(move |request: Request<()>| {
        let header = request.headers().get(field).map(|value| value.to_str().unwrap().to_owned());
        recorder.lock().unwrap().push((header, Attempts::of(request.extensions()).0));
        ready(Ok::<_, Infallible>(response(429, &[("retry-after", "1")])))
    });
    layer.layer(inner).oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn each_retry_has_the_number_of_attempts_before_it_on_the_wire() {
    let number = |text: &str| Some(text.to_owned());
    let seen = numbers(RetryLayer::new(), get(), NUMBER).await;
    assert_eq!(seen, [(None, 1), (number("1"), 2), (number("2"), 3)]);

    let mut call = request(Method::POST);
    call.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    let seen = numbers(RetryLayer::new(), call, "grpc-previous-rpc-attempts").await;
    assert_eq!(seen, [(None, 1), (number("1"), 2), (number("2"), 3)]);

    let silent = RetryLayer::new().attempt_header(false);
    let seen = numbers(silent, get(), NUMBER).await;
    assert_eq!(seen, [(None, 1), (None, 2), (None, 3)]);
}
