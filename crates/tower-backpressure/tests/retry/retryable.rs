//! Which responses and errors are retried.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::PREVIOUS_ATTEMPTS;
use tower_backpressure::{Attempts, RetryLayer};

use crate::memory_server::{Arrivals, get, ok, request, response, server};

/// The number of attempts of a request whose first response is `first`.
async fn attempts(request: Request<()>, first: Response<String>) -> usize {
    let arrivals = Arrivals::default();
    let service = RetryLayer::new().layer(server(&arrivals, &[first, ok()]));
    service.oneshot(request).await.unwrap();
    arrivals.count()
}

#[tokio::test(start_paused = true)]
async fn a_post_that_gets_a_503_without_a_mark_is_sent_once() {
    assert_eq!(attempts(request(Method::POST), response(503, &[])).await, 1);
    assert_eq!(attempts(request(Method::PATCH), response(502, &[])).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_not_begun_is_sent_again() {
    let shed = response(503, &[("x-shed-reason", "limit"), ("retry-after", "1")]);
    assert_eq!(attempts(request(Method::POST), shed).await, 2);
    for status in [421, 425, 429] {
        assert_eq!(attempts(request(Method::POST), response(status, &[])).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_trust_the_server_sends_a_post_once_and_retries_a_get() {
    let marked = [("x-shed-reason", "limit"), ("retry-after", "1")];
    for status in [421, 425, 429, 503] {
        for (method, attempts) in [(Method::POST, 1), (Method::GET, 2)] {
            let arrivals = Arrivals::default();
            let responses = [response(status, &marked), ok()];
            let layer = RetryLayer::new().trust_not_begun(false);
            layer.layer(server(&arrivals, &responses)).oneshot(request(method)).await.unwrap();
            assert_eq!(arrivals.count(), attempts, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let mut post = request(Method::POST);
    let key = "\"8e03978e\"".parse().unwrap();
    post.headers_mut().insert("idempotency-key", key);
    assert_eq!(attempts(post, response(503, &[])).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_get_is_sent_again_after_a_transient_failure_only() {
    for status in [408, 429, 502, 503, 504] {
        assert_eq!(attempts(get(), response(status, &[])).await, 2, "{status}");
    }
    for status in [200, 404, 500, 501] {
        assert_eq!(attempts(get(), response(status, &[])).await, 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_response_is_returned_unchanged() {
    let arrivals = Arrivals::default();
    let busy = response(503, &[("retry-after", "1"), ("x-queue", "91")]);
    let service = RetryLayer::new().layer(server(&arrivals, &[busy]));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["x-queue"], "91");
    assert_eq!(Attempts::of(response.extensions()), Attempts(3));
    assert_eq!(response.into_body().into_inner().unwrap(), "the server's own body");
    assert_eq!(arrivals.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_retried_for_idempotent_requests_only() {
    for (method, attempts) in [(Method::GET, 3), (Method::PUT, 3), (Method::POST, 1)] {
        let arrivals = Arrivals::default();
        let recorder = arrivals.clone();
        let broken = service_fn(move |_: Request<()>| {
            recorder.record();
            ready(Err::<Response<String>, _>("connection reset"))
        });
        let outcome = RetryLayer::new().layer(broken).oneshot(request(method)).await;
        assert_eq!(outcome.unwrap_err(), "connection reset");
        assert_eq!(arrivals.count(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_one_attempt_is_not_copied() {
    #[derive(Debug)]
    struct Once;

    impl Clone for Once {
        fn clone(&self) -> Self {
            panic!("a copy that is never sent");
        }
    }

    let layer = RetryLayer::new().max_attempts(1);
    let service =
        layer.layer(service_fn(|_: Request<Once>| ready(Ok::<_, Infallible>(response(503, &[])))));
    let response = service.oneshot(Request::new(Once)).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(1));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_carries_the_same_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    let echo = service_fn(move |request: Request<&'static str>| {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers.remove(PREVIOUS_ATTEMPTS);
        recorder.lock().unwrap().push((parts.method, parts.uri, headers, body));
        ready(Ok::<_, Infallible>(response(503, &[])))
    });
    let put = Request::put("/a?b=c").header("x-id", "1").body("body").unwrap();
    RetryLayer::new().layer(echo).oneshot(put).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|each| *each == seen[0]));
}
