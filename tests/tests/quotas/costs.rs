//! What requests cost: weights, estimates that are settled, and requests that did no work.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::server::{QuotaLayer, Reservation};
use tower_backpressure::{AdmissionLayer, QueueBounds, Quota};

use crate::support::{BY_KEY, Done, field, request, reservation_of_a, send, served};

fn remaining(layer: &QuotaLayer) -> u64 {
    layer.handle().standing("a").map_or(u64::MAX, |it| it.windows[0].remaining)
}

/// Whether a response tells the only window to have this many tokens left.
fn tells<B>(response: &Response<B>, tokens: u64) -> bool {
    field(response, "ratelimit").contains(&format!(";r={tokens}"))
        && field(response, "ratelimit").matches(";r=").count() == 1
}

#[tokio::test(start_paused = true)]
async fn a_request_costs_its_weight() {
    let layer = QuotaLayer::per("weights", BY_KEY, Quota::per_hour(100))
        .cost(|head| if head.uri.path() == "/export" { 40 } else { 1 });
    let call = async |path: &str| {
        let request = Request::get(path).header("x-api-key", "a").body(String::new());
        send(&layer, request.expect("a request")).await
    };
    assert_eq!(call("/export").await.status(), 200);
    assert_eq!(call("/export").await.status(), 200);
    let rejection = call("/export").await;
    assert_eq!(rejection.status(), 429);
    // Twenty tokens are missing, each of which takes 36 s.
    assert_eq!(field(&rejection, "retry-after"), "720");
    assert_eq!(call("/").await.status(), 200);
    assert_eq!(remaining(&layer), 19);
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_a_request_costs_what_its_info_says() {
    let layer = QuotaLayer::per("infos", BY_KEY, Quota::per_hour(100));
    for (cost, left) in [(30, 70), (0, 69), (1, 68)] {
        let mut costly = request("a");
        costly.extensions_mut().insert(tower_backpressure::RequestInfo::default().cost(cost));
        assert_eq!(send(&layer, costly).await.status(), 200);
        assert_eq!(remaining(&layer), left);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_costs_more_than_a_burst_is_told_that_it_is_never_admitted() {
    let layer = QuotaLayer::per("too-much", BY_KEY, Quota::per_minute(100)).cost(|_| 101);
    let rejection = send(&layer, request("a")).await;
    assert_eq!(rejection.status(), 429);
    assert!(crate::support::text(rejection).await.contains("more than the quota ever allows"));
}

/// A handler of a language model, which says in the end what the request has cost.
async fn model(request: Request<String>) -> Result<Response<String>, Infallible> {
    let cost = request.headers()["x-will-cost"].to_str().expect("text").to_owned();
    if let Some(reservation) = request.extensions().get::<Reservation>() {
        reservation.settle(cost.parse().expect("a number"));
        return Ok(Response::new(String::new()));
    }
    Ok(Response::builder().header("x-cost", cost).body(String::new()).expect("a response"))
}

#[tokio::test(start_paused = true)]
async fn an_estimate_is_settled_by_the_handler_or_by_its_response_up_and_down() {
    let quota = Quota::per_minute(1_000).max_debt(500);
    let layer = || QuotaLayer::per("tokens", BY_KEY, quota).cost(|_| 300);
    let by_handler = layer().expose_reservation(true);
    let by_response =
        layer().settle(|head| head.headers.get("x-cost")?.to_str().ok()?.parse().ok());
    for layer in [by_handler, by_response] {
        let call = async |cost: &str| {
            let mut request = request("a");
            request.headers_mut().insert("x-will-cost", cost.parse().expect("a value"));
            let response = layer.layer(service_fn(model)).oneshot(request).await.expect("no error");
            let is_told = response.status() == 429 || tells(&response, remaining(&layer));
            assert!(is_told, "{:?}", response.headers());
            response.status()
        };
        assert_eq!(call("100").await, 200);
        assert_eq!(remaining(&layer), 900);
        assert_eq!(call("550").await, 200);
        assert_eq!(remaining(&layer), 350);
        // In debt: 500 tokens at most, so that the next request waits for 800, and not for ever.
        assert_eq!(call("1000000").await, 200);
        assert_eq!(call("0").await, 429);
        advance(Duration::from_secs(47)).await;
        assert_eq!(call("0").await, 429);
        advance(Duration::from_secs(2)).await;
        assert_eq!(call("0").await, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_layer_inside_rejects_costs_nothing() {
    let quota = QuotaLayer::per("no-work", BY_KEY, Quota::per_hour(10));
    let admission = AdmissionLayer::fixed("inside", 1).queue(QueueBounds::NONE);
    let permit = admission.limiter().try_acquire().expect("a free permit");
    let both = (quota.clone(), admission);
    for _ in 0..50 {
        let response = both.layer(Done).oneshot(request("a")).await.expect("no error");
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        assert!(tells(&response, 10), "{:?}", response.headers());
        // The quota layer has let it through: it cannot promise that nothing was begun.
        assert!(!response.headers().contains_key("x-shed-reason"));
    }
    drop(permit);
    assert_eq!(remaining(&quota), 10);
    assert_eq!(served(&quota, "a", 20).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_may_be_settled_again_and_after_the_response() {
    let layer = QuotaLayer::per("stream", BY_KEY, Quota::per_hour(100)).expose_reservation(true);
    let reservation = reservation_of_a(&layer).await;
    for tokens in [10, 30, 30, 5, 60] {
        reservation.settle(tokens);
        assert_eq!((reservation.tokens(), remaining(&layer)), (tokens, 100 - tokens));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_report_that_is_corrected_forgives_nothing_of_other_requests() {
    let quota = Quota::per_hour(1_000).max_debt(50).and(Quota::per_day(1_000_000));
    let layer = QuotaLayer::per("corrected", BY_KEY, quota).expose_reservation(true);
    assert_eq!(served(&layer, "a", 800).await, 800);
    let reservation = reservation_of_a(&layer).await;
    for tokens in [u64::MAX, 0, 1_000_000, 7, u64::MAX, u64::MAX, 100] {
        reservation.settle(tokens);
        assert_eq!(reservation.tokens(), tokens);
    }
    assert_eq!(remaining(&layer), 100);
    reservation.settle(0);
    assert_eq!(remaining(&layer), 200);
}

#[tokio::test(start_paused = true)]
async fn batches_whose_cost_is_settled_late_are_as_many_as_the_quota_has_tokens_for() {
    let quota = Quota::per_second(10).max_debt(1_000);
    let layer = QuotaLayer::per("batches", BY_KEY, quota).expose_reservation(true);
    let mut served = 0;
    for _ in 0..500 * 10 {
        let mut request = request("a");
        request.headers_mut().insert("x-will-cost", "1000".parse().expect("a value"));
        let response = layer.layer(service_fn(model)).oneshot(request).await.expect("no error");
        served += u32::from(response.status() == 200);
        advance(Duration::from_millis(100)).await;
    }
    // Each is paid in a hundred seconds.
    assert!((5..=6).contains(&served), "{served}");
}

/// A login: right with the right password, in a while.
async fn login(request: Request<String>) -> Result<Response<String>, Infallible> {
    tokio::time::sleep(Duration::from_millis(10)).await;
    let status = if request.body() == "right" { 200 } else { 401 };
    Ok(Response::builder().status(status).body(String::new()).expect("a response"))
}

#[tokio::test(start_paused = true)]
async fn failures_alone_are_counted_and_no_more_guesses_than_tokens_run_at_once() {
    let layer = QuotaLayer::per("logins", BY_KEY, Quota::per_hour(5))
        .settle(|head| head.status.is_success().then_some(0));
    let attempt = |password: &str| {
        let request = Request::post("/login").header("x-api-key", "a").body(password.to_owned());
        layer.layer(service_fn(login)).oneshot(request.expect("a request"))
    };
    for _ in 0..50 {
        assert_eq!(attempt("right").await.expect("no error").status(), 200);
    }
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..100 {
        guesses.spawn(attempt("wrong"));
    }
    let statuses: Vec<_> = guesses.join_all().await.into_iter().map(Result::unwrap).collect();
    let count = |status| statuses.iter().filter(|it| it.status() == status).count();
    assert_eq!((count(401), count(429)), (5, 95));
    assert_eq!(attempt("right").await.expect("no error").status(), 429);
}
