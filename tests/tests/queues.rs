//! Queues: one of constant depth before workers, and waits inside a handler that are marked as queueing.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::QueueLayer;
use tower_backpressure::{Adaptive, AdmissionLayer, SHED_REASON, queued};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_queue_of_constant_depth_serves_in_order_and_rejects_by_depth_however_long_overload_lasts()
 {
    let served = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&served);
    let layer = QueueLayer::new("jobs", 2, 50);
    let service = layer.layer(service_fn(move |request: Request<usize>| {
        log.lock().expect("no panic").push(*request.body());
        async {
            sleep(SECOND / 10).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    // Three times the capacity of 20 a second for a minute.
    let mut running = JoinSet::new();
    for number in 0..3_600 {
        running.spawn(service.clone().oneshot(Request::new(number)));
        sleep(SECOND / 60).await;
        if number > 600 {
            assert!((48..=50).contains(&layer.handle().snapshot().queued), "it stays full");
        }
    }
    let responses = running.join_all().await;
    let rejected: Vec<_> =
        responses.iter().flatten().filter(|response| response.status() == 503).collect();
    assert!(rejected.iter().all(|response| response.headers()[SHED_REASON] == "queue-full"));
    let served = served.lock().expect("no panic");
    assert!(served.is_sorted(), "first come, first served");
    assert_eq!(served.len() + rejected.len(), 3_600);
    assert!((1_240..=1_280).contains(&served.len()), "{}", served.len());
}

/// A handler that needs one of ten connections for 20 ms, three times as often as there are any; the limit
/// after some seconds, the 99th percentile of the latency of what is sent in the first second and served, and how
/// much is served a second later on.
async fn behind_a_pool(marks: bool, seconds: u64) -> (usize, Duration, f64) {
    let pool = Arc::new(Semaphore::new(10));
    let layer = AdmissionLayer::with_limit("api", Adaptive::new(4));
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let pool = Arc::clone(&pool);
        async move {
            let connection = pool.acquire();
            let _connection = if marks { queued(connection).await } else { connection.await };
            sleep(SECOND / 50).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    let (mut rng, start) = (Rng::with_seed(3), Instant::now());
    let (mut at, mut running) = (start, JoinSet::new());
    while at < start + SECOND * seconds as u32 {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / 1_500.0);
        sleep_until(at).await;
        let service = service.clone();
        running.spawn(async move {
            let sent = Instant::now();
            let response = service.oneshot(Request::new(())).await.expect("infallible");
            (response.status() == 200).then(|| (sent - start, sent.elapsed()))
        });
    }
    let limit = layer.snapshot().limit;
    let served: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    let at_first = served.iter().filter(|(sent, _)| *sent < SECOND);
    let mut latencies: Vec<_> = at_first.map(|(_, latency)| *latency).collect();
    latencies.sort_unstable();
    let settled = SECOND * seconds as u32 / 2;
    let later = served.iter().filter(|(sent, _)| *sent > settled).count();
    let rate = later as f64 / settled.as_secs_f64();
    (limit, latencies[latencies.len() * 99 / 100], rate)
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_pool_that_is_marked_is_known_to_be_a_queue_sooner() {
    let (limit, p99, rate) = behind_a_pool(true, 10).await;
    let (unmarked_limit, unmarked_p99, unmarked_rate) = behind_a_pool(false, 10).await;
    println!(
        "marked: limit {limit}, p99 {p99:?}, {rate:.0}/s; unmarked: {unmarked_limit}, {unmarked_p99:?}, {unmarked_rate:.0}/s"
    );
    assert!((10..=30).contains(&limit), "ten connections: {limit}");
    assert!(rate > 0.97 * 500.0, "{rate}");
    assert!(p99 < unmarked_p99, "{p99:?} {unmarked_p99:?}");
}

#[tokio::test]
async fn a_mark_outside_a_measured_request_only_awaits() {
    assert_eq!(queued(async { 7 }).await, 7);
}

/// How many of 3 000 requests at one moment are served, by a service of so many milliseconds with eight permits, after a
/// second at half its capacity.
async fn served_of_a_burst(millis: u64) -> usize {
    let layer = AdmissionLayer::fixed("api", 8);
    let service = layer.layer(service_fn(move |_: Request<()>| async move {
        sleep(Duration::from_millis(millis)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut before = JoinSet::new();
    for _ in 0..4_000 / millis {
        before.spawn(service.clone().oneshot(Request::new(())));
        sleep(Duration::from_micros(250 * millis)).await;
    }
    before.join_all().await;
    let burst: JoinSet<_> = (0..3_000).map(|_| service.clone().oneshot(Request::new(()))).collect();
    let responses = burst.join_all().await;
    responses.iter().flatten().filter(|response| response.status() == 200).count()
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_served_as_far_as_it_runs_in_the_time_that_it_may_be_queued() {
    // What a service of 4 000 requests a second missed while it was suspended for 750 ms.
    assert_eq!(served_of_a_burst(2).await, 3_000);
    // 80 requests a second: no more than 1 024 are queued, and 80 of these run.
    assert!((80..=100).contains(&served_of_a_burst(100).await));
}
