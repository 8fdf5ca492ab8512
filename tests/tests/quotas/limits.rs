//! What a quota lets through: rates, bursts, requests at once, delays.

use std::time::Duration;

use backpressure_tests::scripted_body::{End, ScriptedBody};
use http::StatusCode;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt};
use tower_backpressure::server::QuotaLayer;
use tower_backpressure::{Quota, Rejected};

use crate::support::{BY_KEY, Done, field, request, send, served, slow};

#[tokio::test(start_paused = true)]
async fn each_tenant_gets_its_rate_and_no_more_whatever_the_others_do() {
    let layer = QuotaLayer::per("rate", BY_KEY, Quota::per_second(10));
    assert_eq!(served(&layer, "a", 10).await, 10);
    let mut flood = 0;
    for _ in 0..100 {
        flood += served(&layer, "a", 20).await;
        assert_eq!(served(&layer, "b", 1).await, 1);
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(flood, 99);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_days_quota_rejects_takes_nothing_from_that_of_the_second() {
    let layer = QuotaLayer::per("two", BY_KEY, Quota::per_second(10).and(Quota::per_day(15)));
    assert_eq!(served(&layer, "a", 100).await, 10);
    advance(Duration::from_secs(1)).await;
    assert_eq!(served(&layer, "a", 100).await, 5);
    advance(Duration::from_secs(1)).await;
    let rejection = send(&layer, request("a")).await;
    assert_eq!(rejection.status(), 429);
    // 86 400 s for 15 tokens: one in 5 760 s, of which two have passed.
    assert_eq!(field(&rejection, "retry-after"), "5758");
    assert_eq!(field(&rejection, "ratelimit"), r#""two-day";r=0;t=5758"#);
    let standing = layer.handle().standing("a").expect("a known key");
    assert_eq!(standing.windows[0].remaining, 10);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_caller_that_comes_back_when_told_is_served() {
    let layer = QuotaLayer::per("told", BY_KEY, Quota::per_minute(7).burst(3));
    for _ in 0..50 {
        let response = send(&layer, request("a")).await;
        if response.status() == StatusCode::OK {
            continue;
        }
        let seconds: u64 = field(&response, "retry-after").parse().expect("seconds");
        assert!(seconds >= 1);
        // Not a second earlier, and then at once.
        advance(Duration::from_secs(seconds - 1)).await;
        assert_eq!(served(&layer, "a", 1).await, 0);
        advance(Duration::from_secs(1)).await;
        assert_eq!(served(&layer, "a", 1).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_count_to_the_end_of_their_bodies() {
    let layer = QuotaLayer::per("at-once", BY_KEY, Quota::concurrent(2));
    let service = layer.layer(tower::service_fn(async |_: http::Request<String>| {
        let body = ScriptedBody::pieces(1, 1).end(End::Hangs);
        Ok::<_, std::convert::Infallible>(http::Response::new(body))
    }));
    let one = service.clone().oneshot(request("a")).await.expect("no error");
    let two = service.clone().oneshot(request("a")).await.expect("no error");
    assert_eq!(one.status(), 200);
    let rejected = service.clone().oneshot(request("a")).await.expect("no error");
    assert_eq!(rejected.status(), 429);
    assert_eq!(field(&rejected, "ratelimit"), r#""at-once-concurrent";r=0;t=1"#);
    assert_eq!(service.clone().oneshot(request("b")).await.expect("no error").status(), 200);
    drop(one);
    assert_eq!(layer.handle().standing("a").map(|it| it.in_flight), Some(1));
    let three = service.oneshot(request("a")).await.expect("no error");
    assert_eq!(three.status(), 200);
    drop((two, three));
    assert_eq!(layer.handle().standing("a").map(|it| it.in_flight), Some(0));
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_are_released_however_a_request_ends() {
    let layer = QuotaLayer::per("ends", BY_KEY, Quota::concurrent(1));
    for _ in 0..10 {
        // Cancelled in the service.
        let call = layer.layer(slow(Duration::from_secs(9))).oneshot(request("a"));
        assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
        // A panic of the handler.
        let panics = tower::service_fn(|_: http::Request<String>| async {
            if true {
                panic!("the handler's");
            }
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        });
        let call = tokio::spawn(layer.layer(panics).oneshot(request("a")));
        assert!(call.await.is_err());
        assert_eq!(served(&layer, "a", 3).await, 3);
    }
    assert_eq!(layer.handle().standing("a").map(|it| it.in_flight), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_leaky_bucket_serves_at_an_even_rate_and_rejects_beyond_its_delay() {
    let quota = Quota::per_second(10).burst(1).smooth(Duration::from_millis(500));
    let layer = QuotaLayer::per("smooth", BY_KEY, quota);
    let (start, mut calls) = (Instant::now(), tokio::task::JoinSet::new());
    for _ in 0..8 {
        let call = layer.layer(Done).oneshot(request("a"));
        calls.spawn(async move { (call.await.expect("no error").status(), start.elapsed()) });
    }
    let mut ends = calls.join_all().await;
    ends.sort_by_key(|(status, at)| (*status != 200, *at));
    let at = |index: usize| ends[index].1.as_millis();
    assert_eq!((0..6).map(at).collect::<Vec<_>>(), [0, 100, 200, 300, 400, 500]);
    assert!(ends[..6].iter().all(|(status, _)| *status == 200));
    assert!(ends[6..].iter().all(|(status, at)| *status == 429 && at.is_zero()));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_that_leaves_gets_its_token_back_and_one_that_has_begun_does_not() {
    let quota = Quota::per_second(1).burst(1).smooth(Duration::from_secs(10));
    let layer = QuotaLayer::per("leaves", BY_KEY, quota);
    assert_eq!(served(&layer, "a", 1).await, 1);
    for _ in 0..100 {
        let call = layer.layer(Done).oneshot(request("a"));
        assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err());
    }
    let start = Instant::now();
    assert_eq!(served(&layer, "a", 1).await, 1);
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());

    let layer = QuotaLayer::per("begun", BY_KEY, Quota::per_hour(1));
    let call = layer.layer(slow(Duration::from_secs(9))).oneshot(request("a"));
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    assert_eq!(served(&layer, "a", 1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_deadline_passes_before_there_are_tokens_is_rejected_at_once() {
    let quota = Quota::per_second(1).burst(1).smooth(Duration::from_secs(10));
    let layer = QuotaLayer::per("deadline", BY_KEY, quota);
    assert_eq!(served(&layer, "a", 1).await, 1);
    let start = Instant::now();
    let mut late = request("a");
    late.extensions_mut().insert(tower_backpressure::Deadline(start + Duration::from_millis(400)));
    let response = send(&layer, late).await;
    assert_eq!((response.status().as_u16(), start.elapsed()), (429, Duration::ZERO));
    assert_eq!(field(&response, "x-shed-reason"), "deadline");
    // It has taken nothing.
    assert_eq!(served(&layer, "a", 1).await, 1);
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_was_idle_for_years_has_its_burst_and_no_more() {
    let layer = QuotaLayer::per("idle", BY_KEY, Quota::per_second(5).and(Quota::per_day(1_000)));
    assert_eq!(served(&layer, "a", 9).await, 5);
    advance(Duration::from_secs(20 * 365 * 86_400)).await;
    assert_eq!(served(&layer, "a", 9).await, 5);
}

#[tokio::test(start_paused = true)]
async fn clients_that_retry_at_once_get_what_the_quota_allows_and_take_nothing_from_others() {
    let layer = QuotaLayer::per("rude", BY_KEY, Quota::per_second(50));
    let mut callers = tokio::task::JoinSet::new();
    let (end, service) = (Instant::now() + Duration::from_secs(10), layer.layer(Done));
    for key in ["rude", "rude", "rude", "polite"] {
        let service = service.clone();
        callers.spawn(async move {
            let mut served = 0;
            while Instant::now() < end {
                let response = service.clone().oneshot(request(key)).await.expect("no error");
                served += usize::from(response.status() == 200);
                let pause = if key == "polite" { 25 } else { 1 };
                sleep(Duration::from_millis(pause)).await;
            }
            (key, served)
        });
    }
    let served = callers.join_all().await;
    let of =
        |key| served.iter().filter(|(of, _)| *of == key).map(|(_, served)| served).sum::<usize>();
    assert_eq!(of("polite"), 400);
    assert!((549..=550).contains(&of("rude")), "{}", of("rude"));
}

#[tokio::test(start_paused = true)]
async fn outer_layers_and_logs_can_tell_a_rejection_from_a_failure() {
    let layer = QuotaLayer::per("told-apart", BY_KEY, Quota::per_hour(1));
    assert_eq!(served(&layer, "a", 1).await, 1);
    let response = send(&layer, request("a")).await;
    let rejected = Rejected::of(&response);
    assert_eq!(rejected, Some(Rejected(tower_backpressure::Reason::Quota)));
    assert_eq!(field(&response, "x-shed-reason"), "quota");
    assert_eq!(field(&response, "cache-control"), "no-store");
}
