//! Faults that were reported of other rate limiters, each as a case here. The reports are named by repository and number.

use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_backpressure::Quota;
use tower_backpressure::server::QuotaLayer;

use crate::support::{BY_KEY, Done, field, request, reservation_of_a, send, served, slow};

const SECOND: Duration = Duration::from_secs(1);
/// The most tokens of a window.
const MAX_TOKENS: u64 = 999_999_999_999_999;
const DAY: Duration = Duration::from_secs(86_400);

fn layer(quota: Quota) -> QuotaLayer {
    QuotaLayer::per("reported", BY_KEY, quota).cost(|head| {
        let cost = head.headers.get("x-cost").and_then(|it| it.to_str().ok()?.parse().ok());
        cost.unwrap_or(1)
    })
}

async fn costing(layer: &QuotaLayer, cost: u64) -> Response<impl Sized> {
    let request = Request::builder().header("x-api-key", "a").header("x-cost", cost);
    send(layer, request.body(String::new()).expect("a request")).await
}

fn remaining(layer: &QuotaLayer) -> Vec<u64> {
    let standing = layer.handle().standing("a").expect("a known key");
    standing.windows.iter().map(|window| window.remaining).collect()
}

#[tokio::test(start_paused = true)]
async fn the_part_of_a_token_that_has_come_counts_in_the_time_told() {
    // bucket4j 88; ratelimit_meter 36 told the time of a full bucket.
    let layer = layer(Quota::per_second(1).burst(5));
    assert!(layer.handle().try_take("a", 5).is_ok());
    advance(Duration::from_millis(200)).await;
    for (tokens, millis) in [(1, 800), (2, 1_800), (5, 4_800)] {
        let shed = layer.handle().try_take("a", tokens).expect_err("not yet");
        assert_eq!(shed.retry_after, Duration::from_millis(millis), "{tokens}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_any_idle_time_a_bucket_of_any_size_holds_its_burst() {
    // bucket4j 51: an overflow after twelve hours.
    let quotas = [
        Quota::per(MAX_TOKENS, Duration::from_micros(1)),
        Quota::per(MAX_TOKENS, 3_660 * DAY),
        Quota::per(1, 3_660 * DAY).burst(MAX_TOKENS),
        Quota::per(1, Duration::from_micros(1)).burst(1),
        Quota::per(7, Duration::from_nanos(9_999_999)),
    ];
    for quota in quotas {
        let layer = layer(quota);
        let burst = quota.windows().next().expect("one").burst();
        for idle in [Duration::ZERO, DAY / 2, 400 * DAY] {
            assert!(layer.handle().try_take("a", 1).is_ok(), "{quota:?}");
            advance(idle).await;
            let left = remaining(&layer)[0];
            assert!(left == burst || left == burst - 1, "{quota:?} {left}");
            layer.handle().forget("a");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_raised_admits_at_once_and_says_the_new_numbers() {
    // boulder 8785: the old limit held, and was told, until the time of the old one.
    let layer = layer(Quota::per_day(10));
    assert_eq!(served(&layer, "a", 11).await, 10);
    layer.handle().set_quota(Quota::per_day(1_000));
    let response = send(&layer, request("a")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "ratelimit"), r#""reported-day";r=989;t=87"#);
    assert_eq!(field(&response, "ratelimit-policy"), r#""reported-day";q=1000;w=86400"#);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_lowered_leaves_no_more_than_its_burst_and_less_what_was_used() {
    let layer = layer(Quota::per_hour(1_000));
    assert_eq!(served(&layer, "a", 3).await, 3);
    layer.handle().set_quota(Quota::per_hour(10));
    assert_eq!(remaining(&layer), [7]);
    // A tenant that is new has the new one.
    assert_eq!(served(&layer, "b", 20).await, 10);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_about_the_window_that_was_exceeded() {
    // apisonator 54: the time of the year's window where the minute's was exceeded.
    let layer = layer(Quota::per_minute(5).and(Quota::per(100_000, 365 * DAY)));
    assert_eq!(served(&layer, "a", 6).await, 5);
    let rejection = send(&layer, request("a")).await;
    assert_eq!(field(&rejection, "retry-after"), "12");
    assert_eq!(field(&rejection, "ratelimit"), r#""reported-minute";r=0;t=12"#);
}

#[tokio::test(start_paused = true)]
async fn what_remains_counts_down_to_zero_and_never_below() {
    // rack-ratelimit 3, node-rate-limiter-flexible 172.
    let layer = QuotaLayer::per("counts", BY_KEY, Quota::per_hour(3))
        .fields(tower_backpressure::server::RateLimitFields::Legacy);
    let mut told = Vec::new();
    for _ in 0..6 {
        let response = send(&layer, request("a")).await;
        told.push(field(&response, "x-ratelimit-remaining").to_owned());
    }
    assert_eq!(told, ["2", "1", "0", "0", "0", "0"]);
}

#[tokio::test(start_paused = true)]
async fn no_time_that_is_told_is_negative_or_zero() {
    // flask-limiter 56: a Retry-After of -1466247819.
    let layer = layer(Quota::per(3, Duration::from_millis(1_700)).burst(1));
    for _ in 0..5_000 {
        let response = send(&layer, request("a")).await;
        if response.status() == 429 {
            let told: u64 = field(&response, "retry-after").parse().expect("a number");
            assert_eq!(told, 1);
        }
        advance(Duration::from_micros(997)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_rejected_for_its_cost_takes_nothing_and_smaller_ones_pass() {
    let layer = layer(Quota::per_minute(60).burst(10));
    assert_eq!(costing(&layer, 6).await.status(), 200);
    for _ in 0..100 {
        let rejection = costing(&layer, 5).await;
        assert_eq!((rejection.status().as_u16(), field(&rejection, "retry-after")), (429, "1"));
    }
    assert_eq!(remaining(&layer), [4]);
    assert_eq!(costing(&layer, 4).await.status(), 200);
    // Above the burst it is never admitted, and takes nothing either.
    advance(60 * SECOND).await;
    for cost in [11, 1_000, MAX_TOKENS, u64::MAX] {
        assert_eq!(costing(&layer, cost).await.status(), 429, "{cost}");
    }
    assert_eq!(remaining(&layer), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_cost_of_zero_takes_nothing_and_passes_an_empty_bucket_but_not_a_debt() {
    let layer = layer(Quota::per_minute(60).burst(2)).expose_reservation(true);
    assert_eq!(costing(&layer, 2).await.status(), 200);
    for _ in 0..100 {
        assert_eq!(costing(&layer, 0).await.status(), 200);
    }
    assert_eq!(remaining(&layer), [0]);
    advance(SECOND).await;
    reservation_of_a(&layer).await.settle(3);
    assert_eq!(costing(&layer, 0).await.status(), 429, "two tokens are owed");
    advance(2 * SECOND).await;
    assert_eq!(costing(&layer, 0).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn refunds_in_any_order_and_number_mint_nothing() {
    let layer = layer(Quota::per_day(100)).expose_reservation(true);
    let mut reservations = Vec::new();
    for _ in 0..10 {
        reservations.push(reservation_of_a(&layer).await);
    }
    let reports = [0, 50, 0, u64::MAX, 1, 0, 90, 0];
    for report in reports {
        for reservation in reservations.iter().rev() {
            reservation.settle(report);
        }
        assert!(remaining(&layer)[0] <= 100, "{report}");
    }
    // All of them did nothing in the end, and as many can be served as ever.
    assert_eq!(remaining(&layer), [100]);
    drop(reservations);
    assert_eq!(served(&layer, "a", 200).await, 100);
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_counted_right_while_the_quota_starts_and_stops_to_limit_them() {
    let at_once = || Quota::concurrent(3).and(Quota::per_second(1_000));
    let layer = layer(at_once());
    let start = |time: Duration| tokio::spawn(layer.layer(slow(time)).oneshot(request("a")));
    let counted: Vec<_> = (0..3).map(|_| start(SECOND)).collect();
    sleep(SECOND / 10).await;
    assert_eq!(served(&layer, "a", 1).await, 0);
    layer.handle().set_quota(Quota::per_second(1_000));
    let not_counted: Vec<_> = (0..5).map(|_| start(2 * SECOND)).collect();
    sleep(SECOND / 10).await;
    // The three that run were counted, and the five were not.
    layer.handle().set_quota(at_once());
    assert_eq!(served(&layer, "a", 1).await, 0);
    for call in counted {
        assert_eq!(call.await.expect("no panic").expect("no error").status(), 200);
    }
    assert_eq!(layer.handle().standing("a").map(|it| it.in_flight), Some(0));
    let again: Vec<_> = (0..4).map(|_| start(5 * SECOND)).collect();
    for call in not_counted {
        assert_eq!(call.await.expect("no panic").expect("no error").status(), 200);
    }
    assert_eq!(served(&layer, "a", 1).await, 0, "three of the four run");
    let mut statuses = Vec::new();
    for call in again {
        statuses.push(call.await.expect("no panic").expect("no error").status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(layer.handle().standing("a").map(|it| it.in_flight), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_changes_its_plan_takes_its_requests_in_flight_along() {
    let layer = QuotaLayer::per("moves", BY_KEY, Quota::concurrent(2))
        .plan("large", Quota::concurrent(4))
        .plan("any", Quota::unlimited())
        .plan_of(|head| head.headers.get("x-plan").map_or("", |it| it.to_str().unwrap_or("")));
    let call = |plan: &'static str, time: Duration| {
        let mut request = request("a");
        request.headers_mut().insert("x-plan", http::HeaderValue::from_static(plan));
        tokio::spawn(layer.layer(slow(time)).oneshot(request))
    };
    let mut running = JoinSet::new();
    for (plan, expected) in
        [("", 200), ("", 200), ("", 429), ("large", 200), ("large", 200), ("large", 429), ("", 429)]
    {
        let call = call(plan, SECOND);
        running.spawn(async move {
            let status = call.await.expect("no panic").expect("no error").status();
            assert_eq!(status, expected, "{plan}");
        });
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        call("any", Duration::ZERO).await.expect("no panic").expect("no error").status(),
        200
    );
    running.join_all().await;
    assert_eq!(layer.handle().standing("a").map(|it| it.in_flight), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_delayed_requests_that_leave_at_once_cost_nothing() {
    let layer = layer(Quota::per_second(100).burst(1).smooth(60 * SECOND));
    assert_eq!(served(&layer, "a", 1).await, 1);
    let mut waiting = JoinSet::new();
    for _ in 0..1_000 {
        let call = layer.layer(Done).oneshot(request("a"));
        waiting.spawn(async move { timeout(Duration::from_millis(5), call).await.is_ok() });
    }
    assert!(waiting.join_all().await.iter().all(|served| !served));
    let start = tokio::time::Instant::now();
    assert_eq!(served(&layer, "a", 1).await, 1);
    assert!(start.elapsed() <= Duration::from_millis(11), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn names_that_come_once_take_bounded_memory_and_a_known_tenant_keeps_what_it_used() {
    let layer = QuotaLayer::per("vanish", BY_KEY, Quota::per_day(5)).max_keys(2_000);
    let handle = layer.handle();
    let mut served_in_all = 0;
    for name in 0_u64..1_000_000 {
        assert!(handle.try_take(name, 1).is_ok(), "a name that was never seen has its tokens");
        if name % 50 == 0 {
            // It comes back all the time, and owes more than the names that came once.
            served_in_all += u64::from(handle.try_take("known", 1).is_ok());
        }
    }
    assert_eq!(served_in_all, 5);
    assert!(handle.keys() <= 2_000 + 128, "{}", handle.keys());
}

#[tokio::test(start_paused = true)]
async fn while_all_keys_have_requests_in_flight_the_others_share_one_quota_and_then_have_their_own()
{
    let quota = Quota::concurrent(1).and(Quota::per_day(2));
    let layer = QuotaLayer::per("all-in-flight", BY_KEY, quota).max_keys(1);
    let mut held = JoinSet::new();
    for key in 0..2_000 {
        held.spawn(layer.layer(slow(SECOND)).oneshot(request(&key.to_string())));
    }
    sleep(SECOND / 2).await;
    // One key in each of 128 parts, and two requests that shared.
    let others = held.len();
    assert_eq!(others, 2_000);
    let statuses = held.join_all().await.into_iter().map(|it| it.expect("no error").status());
    let admitted = statuses.filter(|status| *status == 200).count();
    assert!((128..=3 * 128).contains(&admitted), "{admitted}");
    assert!(layer.handle().keys() <= 128);
    assert_eq!(served(&layer, "new", 3).await, 2);
}
