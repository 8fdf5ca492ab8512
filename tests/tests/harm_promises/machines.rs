//! A process that is suspended: its clock jumps, and all that was due happens at once.

use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};
use tower_backpressure::{AdmissionLayer, Priority};

use super::site::{Site, share};

const SECOND: Duration = Duration::from_secs(1);

/// The share served of requests of half the capacity, one by one for ten seconds.
async fn served_at_half_load(site: &Site) -> f64 {
    let (mut rng, mut requests) = (Rng::with_seed(5), JoinSet::new());
    let end = Instant::now() + 10 * SECOND;
    while Instant::now() < end {
        sleep(SECOND.div_f64(site.per_second()).mul_f64(4.0 * rng.f64())).await;
        let site = site.clone();
        requests.spawn(async move { site.ask().await.is_ok() });
    }
    share(&requests.join_all().await)
}

#[tokio::test(start_paused = true)]
async fn promises_that_fall_due_while_a_process_is_suspended_are_kept_soon_afterwards() {
    for suspended in [5, 60, 3_600] {
        let site = Site::fixed(8, 40);
        let flood = site.flood(0.3 * site.per_second(), Priority::Normal, 1);
        sleep(30 * SECOND).await;
        let rejections = site.herd(2_000).await;
        let clients: JoinSet<_> = rejections
            .into_iter()
            .map(|mut rejection| {
                let site = site.clone();
                async move {
                    for attempt in 1..=20 {
                        sleep(rejection.wait).await;
                        match site.return_with(rejection.ticket.clone()).await {
                            Ok(()) => return (attempt, Instant::now()),
                            Err(next) => rejection = next,
                        }
                    }
                    (21, Instant::now())
                }
            })
            .collect();
        sleep(SECOND / 2).await;
        flood.abort();
        advance(suspended * SECOND).await;
        let resumed = Instant::now();
        let results = clients.join_all().await;
        let last = results.iter().map(|(_, at)| at.duration_since(resumed)).max();
        let attempts = results.iter().map(|&(attempts, _)| attempts).max();
        println!("{suspended} s: the last after {last:?}, at most {attempts:?} attempts");
        // 1 000 at 200 a second, in whole seconds.
        assert!(last <= Some(30 * SECOND) && attempts <= Some(6), "{suspended}: {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_suspended_while_it_drains_ends_its_drain() {
    for suspended in [5, 60] {
        let site = Site::fixed(8, 40);
        let flood = site.flood(1.5 * site.per_second(), Priority::Normal, 1);
        sleep(20 * SECOND).await;
        site.layer.limiter().drain();
        advance(suspended * SECOND).await;
        let drained = tokio::time::timeout(3 * SECOND, site.layer.limiter().drained()).await;
        assert!(drained.is_ok(), "{suspended} s");
        site.layer.limiter().resume();
        flood.abort();
        sleep(2 * SECOND).await;
        assert!(served_at_half_load(&site).await >= 0.99, "{suspended} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_suspended_under_overload_serves_half_its_capacity_soon_afterwards() {
    for (suspended, load) in [(5, 3.0), (60, 3.0), (5, 1.1), (60, 10.0)] {
        for adaptive in [false, true] {
            let site = match adaptive {
                true => Site::new(AdmissionLayer::adaptive("api"), 8, 40),
                false => Site::fixed(8, 40),
            };
            let flood = site.flood(load * site.per_second(), Priority::Normal, 1);
            sleep(30 * SECOND).await;
            advance(suspended * SECOND).await;
            flood.abort();
            sleep(5 * SECOND).await;
            let served = served_at_half_load(&site).await;
            println!("{suspended} s at {load}×, adaptive {adaptive}: {served:.3}");
            assert!(served >= 0.99, "{suspended} s at {load}×, adaptive {adaptive}: {served}");
        }
    }
}
