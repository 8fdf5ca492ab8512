//! Routes of an axum app that share a pool, one of which depends on a service that hangs: what the others notice.
//! `bulkheads_on_sockets` has the same over connections.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use backpressure_tests::routes::{POOL, Pool, WORK, app, hangs_for_ever};
use http::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::ServiceExt;
use tower_backpressure::{BulkheadLayer, BulkheadSet, Compartment, QueueBounds};

/// How long a request to the route that hangs takes where a time-out ends it.
const TIME_OUT: Duration = Duration::from_secs(2);
/// A response that takes this long does not come.
const PATIENCE: Duration = Duration::from_secs(30);
const SPAN: Duration = Duration::from_secs(10);

async fn hangs(State(pool): State<Pool>) -> &'static str {
    let _connection = pool.acquire().await.expect("never closed");
    let _ = timeout(TIME_OUT, std::future::pending::<()>()).await;
    "too late"
}

async fn call(app: Router, path: &'static str) -> Option<Duration> {
    let start = Instant::now();
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = timeout(PATIENCE, app.oneshot(request)).await.ok()?.expect("no error");
    (response.status() == 200).then(|| start.elapsed())
}

/// The 99th percentile of the latency of two routes that are asked at random times, this many times a second each;
/// `None`: less than 99 of a hundred requests were served.
async fn p99(app: &Router, per_second: f64) -> Option<Duration> {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut at, mut sent) = (Instant::now(), JoinSet::new());
    let end = at + SPAN;
    while at < end {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / (2.0 * per_second));
        sleep_until(at).await;
        sent.spawn(call(app.clone(), if rng.bool() { "/orders" } else { "/search" }));
    }
    let mut times = sent.join_all().await;
    times.sort_unstable_by_key(|time| time.unwrap_or(Duration::MAX));
    times[times.len() * 99 / 100]
}

/// Twice as many requests to the route that hangs as there are connections.
async fn hang(app: &Router) -> JoinSet<()> {
    let mut hanging = JoinSet::new();
    for _ in 0..2 * POOL {
        let request = Request::get("/reports").body(Body::empty()).expect("a request");
        let call = app.clone().oneshot(request);
        hanging.spawn(async move { drop(call.await) });
    }
    sleep(Duration::from_millis(1)).await;
    hanging
}

fn set() -> BulkheadSet {
    BulkheadSet::total(POOL)
        .compartment("orders", 10)
        .compartment("search", 10)
        .compartment("reports", Compartment::guaranteed(4))
}

/// What a route has borrowed of others beside what belongs to none.
fn borrowed(set: &BulkheadSet) -> usize {
    set.layer("reports").snapshot().in_flight.saturating_sub(4 + 8)
}

#[tokio::test(start_paused = true)]
async fn without_a_bulkhead_all_routes_hang() {
    let app = app(|_| None, get(hangs_for_ever));
    assert!(p99(&app, 100.0).await.expect("nothing hangs yet") < 2 * WORK);
    let _hanging = hang(&app).await;
    assert_eq!(p99(&app, 100.0).await, None);
}

#[tokio::test(start_paused = true)]
async fn with_a_bulkhead_for_each_route_the_others_have_the_latency_of_before() {
    let limit = |name: &str| if name == "reports" { 8 } else { 12 };
    let queue = QueueBounds::default();
    let layer = |name: &str| Some(BulkheadLayer::new(name, limit(name)).queue(queue).into());
    let app = app(layer, get(hangs_for_ever));
    // A third of what they can do, and two thirds.
    for per_second in [400.0, 800.0] {
        let normal = p99(&app, per_second).await.expect("nothing hangs yet");
        let hanging = hang(&app).await;
        let beside = p99(&app, per_second).await.expect("served");
        println!("{per_second}/s: {normal:?}, beside what hangs {beside:?}");
        assert!(10 * beside <= 11 * normal, "{per_second}/s: {normal:?} {beside:?}");
        drop(hanging);
        sleep(WORK).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_set_the_others_have_the_latency_of_before_with_what_a_loan_leaves_them() {
    let set = set();
    let app = app(|name| Some(set.layer(name)), get(hangs_for_ever));
    let normal = p99(&app, 100.0).await.expect("nothing hangs yet");
    // It borrows while they are idle, and gives nothing back.
    let _hanging = hang(&app).await;
    assert_eq!(borrowed(&set), 10);
    let beside = p99(&app, 100.0).await.expect("served");
    println!("{normal:?}, beside what hangs {beside:?}");
    assert!(10 * beside <= 11 * normal, "{normal:?} {beside:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_set_the_others_have_the_latency_of_before_once_a_time_out_has_given_the_loan_back() {
    let set = set();
    let app = app(|name| Some(set.layer(name)), get(hangs));
    // More than half of their guarantees: what is lent has to come back.
    let normal = p99(&app, 700.0).await.expect("nothing hangs yet");
    let _hanging = hang(&app).await;
    assert_eq!(borrowed(&set), 10);
    let during = p99(&app, 700.0).await;
    sleep(TIME_OUT).await;
    let after = p99(&app, 700.0).await.expect("served");
    println!("{normal:?}, with the loan {during:?}, after it {after:?}");
    assert!(10 * after <= 11 * normal, "{normal:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_set_a_route_that_lends_nothing_never_notices_what_hangs() {
    let keeps = || Compartment::guaranteed(10).lend(0).queue(QueueBounds::default());
    let set = BulkheadSet::total(POOL)
        .compartment("orders", keeps())
        .compartment("search", keeps())
        .compartment("reports", 4);
    let app = app(|name| Some(set.layer(name)), get(hangs_for_ever));
    let normal = p99(&app, 400.0).await.expect("nothing hangs yet");
    let _hanging = hang(&app).await;
    assert_eq!(borrowed(&set), 0);
    let beside = p99(&app, 400.0).await.expect("served");
    println!("{normal:?}, beside what hangs {beside:?}");
    assert!(10 * beside <= 11 * normal, "{normal:?} {beside:?}");
}
