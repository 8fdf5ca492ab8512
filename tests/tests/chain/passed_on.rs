//! What a service in the middle passes on: to the service that it calls, and to its caller.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::{RETRY_AFTER_SCOPE, Unavailable};
use tower_backpressure::{
    AdmissionLayer, BreakerLayer, ClientStack, CooldownLayer, Priority, RequestInfo,
    RequestInfoLayer, RetryLayer,
};

use super::slow_dependency::{Remote, call, remote, reply};
use super::{MS, SECOND};

type Heads = Arc<Mutex<Vec<HeaderMap>>>;

/// A service that answers what `answer` makes of the number of the request, and records the heads.
fn answering(
    heads: &Heads,
    answer: impl Fn(usize) -> Response<Full<bytes::Bytes>> + Clone + Send + Sync + 'static,
) -> Remote {
    let heads = Arc::clone(heads);
    remote(service_fn(move |request: Request<Full<bytes::Bytes>>| {
        let mut heads = heads.lock().expect("no panic");
        heads.push(request.headers().clone());
        std::future::ready(Ok::<_, Infallible>(answer(heads.len())))
    }))
}

/// A service that works for 100 ms and calls `next` through a stack, behind a layer that reads the headers.
fn passing_on(stack: ClientStack, next: Remote) -> Remote {
    let client = stack.layer(next);
    let handler = service_fn(move |request: Request<Full<bytes::Bytes>>| {
        let client = client.clone();
        async move {
            sleep(100 * MS).await;
            let mut next = call();
            RequestInfo::of(request.extensions()).carry_to(&mut next);
            let response = client.oneshot(next).await?;
            Ok::<_, Infallible>(match Unavailable::of(&response) {
                Some(unavailable) => unavailable.into_response(),
                None => reply(response.status()),
            })
        }
    });
    remote(RequestInfoLayer::from_headers().trust(|_| true).layer(handler))
}

fn rejection(fields: &[(&'static str, &'static str)]) -> Response<Full<bytes::Bytes>> {
    let mut rejection = reply(StatusCode::SERVICE_UNAVAILABLE);
    for (name, value) in fields {
        rejection.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    rejection
}

fn field(heads: &Heads, index: usize, name: &str) -> Option<String> {
    let heads = heads.lock().expect("no panic");
    heads[index].get(name).map(|value| value.to_str().expect("text").to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_last_service_gets_the_priority_and_what_is_left_of_the_time() {
    let heads = Heads::default();
    let last = answering(&heads, |_| reply(StatusCode::OK));
    let second = passing_on(ClientStack::new("second"), last);
    let first = passing_on(ClientStack::new("first"), second);
    let mut request = call();
    let info =
        RequestInfo::default().priority(Priority::Critical).deadline(Instant::now() + SECOND);
    info.carry_to(&mut request);
    assert_eq!(first.oneshot(request).await.expect("infallible").status(), 200);
    assert_eq!(field(&heads, 0, "x-criticality").as_deref(), Some("critical"));
    assert_eq!(field(&heads, 0, "request-timeout").as_deref(), Some("800ms"));
    assert_eq!(field(&heads, 0, "x-previous-attempts"), None);
}

#[tokio::test(start_paused = true)]
async fn a_retry_has_the_time_that_is_left_then() {
    let heads = Heads::default();
    let last = answering(&heads, |number| match number {
        1 => rejection(&[("retry-after", "2"), ("x-shed-reason", "limit")]),
        _ => reply(StatusCode::OK),
    });
    let first = passing_on(ClientStack::new("first"), last);
    let mut request = call();
    RequestInfo::default().deadline(Instant::now() + 5 * SECOND).carry_to(&mut request);
    assert_eq!(first.oneshot(request).await.expect("infallible").status(), 200);
    let left: Vec<_> = (0..2).map(|index| field(&heads, index, "request-timeout")).collect();
    assert_eq!(left[0].as_deref(), Some("4900ms"));
    let left = left[1].as_deref().and_then(|left| left.strip_suffix("ms")).expect("milliseconds");
    assert!((1_900..=2_900).contains(&left.parse::<u32>().expect("a number")), "{left}");
}

/// Attempts that reach the last service, by the number of services in front of it that retry.
async fn attempts(middle: usize, client: RetryLayer) -> usize {
    let heads = Heads::default();
    let mut chain = answering(&heads, |_| reply(StatusCode::BAD_GATEWAY));
    for _ in 0..middle {
        chain = passing_on(ClientStack::new("middle"), chain);
    }
    let client = ClientStack::new("client").retry(client).layer(chain);
    let response = client.oneshot(call()).await.expect("infallible");
    assert_eq!(response.status(), 502);
    heads.lock().expect("no panic").len()
}

#[tokio::test(start_paused = true)]
async fn attempts_add_up_through_a_chain_and_do_not_multiply() {
    for (middle, most) in [(0, 3), (1, 5), (2, 7), (3, 9)] {
        let sent = attempts(middle, RetryLayer::new()).await;
        assert_eq!(sent, most, "{middle} services in the middle");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_announces_its_retries_is_the_only_one_to_retry() {
    for middle in 0..=3 {
        let sent = attempts(middle, RetryLayer::new().announce_retries(true)).await;
        assert_eq!(sent, 3, "{middle} services in the middle");
    }
}

#[tokio::test(start_paused = true)]
async fn the_caller_is_told_the_time_of_the_last_service() {
    let heads = Heads::default();
    let last =
        answering(&heads, |_| rejection(&[("retry-after", "40"), ("x-shed-reason", "limit")]));
    let second = passing_on(ClientStack::new("second"), last);
    let first = passing_on(ClientStack::new("first"), second);
    for _ in 0..100 {
        let response = first.clone().oneshot(call()).await.expect("infallible");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "40");
        assert_eq!(response.headers()[RETRY_AFTER_SCOPE], "request");
        assert!(!response.headers().contains_key("x-shed-reason"), "handlers have run");
    }
    assert_eq!(heads.lock().expect("no panic").len(), 100, "no cool-down: each was told by itself");
}

/// A service with a route that depends on `/next`, and one that does not, behind one adaptive limit.
struct Shop {
    checkout: Remote,
    catalogue: Remote,
    admission: AdmissionLayer,
    handled: Arc<Mutex<HashMap<&'static str, usize>>>,
}

fn shop(stack: &ClientStack, next: Remote) -> Shop {
    let (admission, handled) = (AdmissionLayer::adaptive("shop"), Arc::default());
    let client = stack.layer(next);
    let count = |route: &'static str| {
        let handled: Arc<Mutex<HashMap<_, _>>> = Arc::clone(&handled);
        move || *handled.lock().expect("no panic").entry(route).or_insert(0) += 1
    };
    let checkout = count("checkout");
    let checkout = service_fn(move |_: Request<Full<bytes::Bytes>>| {
        checkout();
        let client = client.clone();
        async move {
            sleep(5 * MS).await;
            let response = client.oneshot(call()).await?;
            Ok::<_, Infallible>(match Unavailable::of(&response) {
                Some(unavailable) => unavailable.into_response(),
                None => reply(response.status()),
            })
        }
    });
    let catalogue = count("catalogue");
    let catalogue = service_fn(move |_: Request<Full<bytes::Bytes>>| {
        catalogue();
        async move {
            sleep(5 * MS).await;
            Ok::<_, Infallible>(reply(StatusCode::OK))
        }
    });
    let checkout = stack.dependency(call().uri()).layer(checkout);
    Shop {
        checkout: remote(admission.layer(checkout)),
        catalogue: remote(admission.layer(catalogue)),
        admission,
        handled,
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_whose_dependency_is_in_a_cool_down_is_rejected_before_its_handler() {
    let heads = Heads::default();
    let start = Instant::now();
    let next = answering(&heads, move |_| match start.elapsed() < 20 * SECOND {
        true => rejection(&[("retry-after", "20")]),
        false => reply(StatusCode::OK),
    });
    let cooldown = CooldownLayer::new("next").seed(1);
    let stack = ClientStack::new("next")
        .cooldown(cooldown.clone())
        .retry(RetryLayer::named("next").max_attempts(1));
    let shop = shop(&stack, next);
    // Four rejections begin a cool-down of an origin that has never answered.
    for _ in 0..5 {
        let response = shop.checkout.clone().oneshot(call()).await.expect("infallible");
        assert_eq!(response.status(), 503);
    }
    let before = shop.handled.lock().expect("no panic")["checkout"];
    let limit = shop.admission.snapshot().limit;
    for _ in 0..1_000 {
        let left = cooldown.snapshot(call().uri()).expect("in use").left;
        let response = shop.checkout.clone().oneshot(call()).await.expect("infallible");
        assert_eq!(response.status(), 503);
        let told = response.headers()["retry-after"].to_str().expect("text").parse().expect("s");
        let told = Duration::from_secs(told);
        assert!(told >= left && told < left + SECOND, "{told:?} for {left:?}");
        let response = shop.catalogue.clone().oneshot(call()).await.expect("infallible");
        assert_eq!(response.status(), 200, "a route that does not depend on it");
    }
    assert_eq!(shop.handled.lock().expect("no panic")["checkout"], before);
    assert_eq!(heads.lock().expect("no panic").len(), 4);
    assert_eq!(shop.admission.snapshot().limit, limit);
    sleep(25 * SECOND).await;
    let response = shop.checkout.clone().oneshot(call()).await.expect("infallible");
    assert_eq!(response.status(), 200, "the probe passes");
}

#[tokio::test(start_paused = true)]
async fn a_route_whose_dependency_is_behind_an_open_breaker_is_rejected_until_it_probes() {
    let heads = Heads::default();
    let start = Instant::now();
    let next = answering(&heads, move |_| match start.elapsed() < 3 * SECOND {
        true => reply(StatusCode::INTERNAL_SERVER_ERROR),
        false => reply(StatusCode::OK),
    });
    let stack = ClientStack::new("next")
        .retry(RetryLayer::named("next").max_attempts(1))
        .breaker(BreakerLayer::new("next").open_for(5 * SECOND));
    let shop = shop(&stack, next);
    for _ in 0..20 {
        let response = shop.checkout.clone().oneshot(call()).await.expect("infallible");
        assert_eq!(response.status(), 500);
    }
    let response = shop.checkout.clone().oneshot(call()).await.expect("infallible");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"5".parse().expect("a value"))
    );
    assert_eq!(shop.handled.lock().expect("no panic")["checkout"], 20);
    sleep(5 * SECOND).await;
    let mut served = 0;
    for _ in 0..100 {
        let response = shop.checkout.clone().oneshot(call()).await.expect("infallible");
        served += usize::from(response.status() == 200);
    }
    assert_eq!(served, 100, "the probes pass, and then all");
}
