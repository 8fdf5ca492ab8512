//! What many callers are told at once, and what one caller that asks often costs others.

use std::time::Duration;

use http::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use tower_backpressure::{AdmissionLayer, QueueBounds, Shed};

use super::{SHORT_QUEUE, hold_all, send, service_of};

#[tokio::test(start_paused = true)]
async fn retry_after_recovers_after_a_flood_that_ignored_it() {
    for (limit, millis, callers, seconds) in
        [(2, 300, 8, 10), (1, 50, 30, 20), (8, 1_000, 100, 30), (2, 3_000, 8, 30)]
    {
        let layer = AdmissionLayer::fixed("api", limit).queue(SHORT_QUEUE);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut flood = JoinSet::new();
        for n in 0..callers {
            let service = service.clone();
            flood.spawn(async move {
                while Instant::now() < end {
                    let _ = send(&service).await;
                    sleep(Duration::from_millis(20 + n)).await;
                }
            });
        }
        flood.join_all().await;
        sleep(Duration::from_millis(4 * millis)).await;
        // All permits are taken repeatedly by other requests, for as long as a response takes.
        let mut retry_after = Vec::new();
        for _ in 0..12 {
            hold_all(&layer, Duration::from_millis(millis));
            retry_after.push(send(&service).await.err().unwrap_or(0));
            sleep(Duration::from_secs(5)).await;
        }
        println!(
            "{limit} × {millis} ms, {callers} callers in a loop for {seconds} s, retry_after: {retry_after:?}"
        );
        let needed = (millis / 1_000).max(1);
        assert!(
            retry_after[2..].iter().all(|&retry_after| retry_after <= 3 * needed),
            "{retry_after:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_retries_a_hundred_times_does_not_delay_the_retry_after_of_others() {
    for (limit, millis) in [(2, 300), (1, 1_000), (8, 100)] {
        let layer = AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        let mut busy = JoinSet::new();
        for _ in 0..limit {
            let service = service.clone();
            busy.spawn(async move {
                loop {
                    let _ = send(&service).await;
                }
            });
        }
        sleep(Duration::from_secs(5)).await;
        let before = send(&service).await.expect_err("no permit is free");
        for _ in 0..100 {
            let _ = send(&service).await;
        }
        let retry_after = send(&service).await.expect_err("no permit is free");
        sleep(Duration::from_secs(5)).await;
        let later = send(&service).await.expect_err("no permit is free");
        println!(
            "{limit} × {millis} ms: retry_after {before} s before, {retry_after} s after, {later} s later"
        );
        assert!(retry_after <= 6 && later <= 3, "{limit} × {millis} ms: {retry_after}, {later}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_removed_queue_are_told_to_return_within_three_seconds() {
    let layer =
        AdmissionLayer::fixed("api", 10).queue(QueueBounds::new(1_000, Duration::from_secs(5)));
    let service = service_of(&layer, Some(Duration::from_millis(100)));
    // A hundred requests a second for a minute, exactly the capacity.
    let mut callers = JoinSet::new();
    for _ in 0..6_000 {
        let service = service.clone();
        callers.spawn(async move { send(&service).await });
        sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..200 {
        let service = service.clone();
        callers.spawn(async move { send(&service).await });
    }
    sleep(Duration::from_millis(1)).await;
    layer.limiter().bound_queue(QueueBounds::NONE);
    let retry_after: Vec<_> =
        callers.join_all().await.into_iter().filter_map(Result::err).collect();
    println!("{} retry_after {:?}", retry_after.len(), retry_after.iter().max());
    assert!(
        retry_after.len() >= 150 && retry_after.iter().all(|&retry_after| retry_after <= 3),
        "{retry_after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_returns_when_told_is_admitted() {
    for (limit, millis, load, burst) in [(16, 10, 0.5, 5_000), (4, 20, 0.3, 500), (2, 300, 0.5, 60)]
    {
        // What is rendered has the exact time with it.
        let layer = AdmissionLayer::fixed("api", limit).on_reject(|_, response| response);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        let capacity = limit as f64 / (millis as f64 / 1e3);
        let gap = Duration::from_secs_f64(1.0 / (capacity * load));
        let steady = {
            let service = service.clone();
            tokio::spawn(async move {
                let mut all = JoinSet::new();
                loop {
                    let service = service.clone();
                    all.spawn(async move { send(&service).await });
                    sleep(gap).await;
                }
            })
        };
        sleep(Duration::from_secs(60)).await;
        let mut callers = JoinSet::new();
        for _ in 0..burst {
            let service = service.clone();
            callers.spawn(async move {
                let response = service.clone().oneshot(Request::new(())).await.expect("infallible");
                let shed = response.extensions().get::<Shed>()?;
                sleep(shed.retry_after).await;
                Some(send(&service).await.is_ok())
            });
        }
        let results = callers.join_all().await;
        steady.abort();
        let returned = results.iter().flatten().count();
        let admitted = results.iter().flatten().filter(|&&admitted| admitted).count();
        let share = admitted as f64 / returned.max(1) as f64;
        println!("{limit} × {millis} ms: {returned} of {burst} returned, {share:.3} were admitted");
        assert!(returned > 0 && share >= 0.95, "{limit} × {millis} ms: {share:.3} of {returned}");
    }
}
