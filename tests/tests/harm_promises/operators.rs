//! Promises while an operator changes the limit, drains, pauses or deploys.

use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower_backpressure::{Fixed, Priority, QueueBounds};

use super::site::{Rejection, Site, share};

const SECOND: Duration = Duration::from_secs(1);

/// All come back when told, with their tickets, until they are admitted; how many attempts each made, and how long
/// it took in all.
async fn until_admitted(site: &Site, rejections: Vec<Rejection>) -> Vec<(usize, Duration)> {
    let mut rng = Rng::with_seed(9);
    let clients: JoinSet<_> = rejections
        .into_iter()
        .map(|first| {
            let (site, mut rng) = (site.clone(), rng.fork());
            async move {
                let (start, mut rejection) = (Instant::now(), first);
                for attempt in 1..=20 {
                    sleep(rejection.wait + SECOND.mul_f64(rng.f64())).await;
                    match site.return_with(rejection.ticket.clone()).await {
                        Ok(()) => return (attempt, start.elapsed()),
                        Err(next) => rejection = next,
                    }
                }
                (21, start.elapsed())
            }
        })
        .collect();
    clients.join_all().await
}

fn mean_attempts(results: &[(usize, Duration)]) -> f64 {
    results.iter().map(|(attempts, _)| *attempts as f64).sum::<f64>() / results.len() as f64
}

fn longest(results: &[(usize, Duration)]) -> Duration {
    results.iter().map(|&(_, time)| time).max().unwrap_or_default()
}

async fn with_a_herd(count: usize) -> (Site, Vec<Rejection>, tokio::task::JoinHandle<()>) {
    let site = Site::fixed(16, 50);
    let flood = site.flood(0.15 * site.per_second(), Priority::Normal, 1);
    sleep(30 * SECOND).await;
    let rejections = site.herd(count).await;
    (site, rejections, flood)
}

#[tokio::test(start_paused = true)]
async fn promises_made_before_the_limit_was_lowered_are_told_anew_and_kept() {
    let (site, rejections, flood) = with_a_herd(3_000).await;
    let count = rejections.len();
    // A quarter of the capacity is left, of which the steady load takes 60 %.
    site.layer.limiter().replace_limit(Fixed::new(4));
    let results = until_admitted(&site, rejections).await;
    flood.abort();
    let (attempts, time) = (mean_attempts(&results), longest(&results));
    println!("{count} told: {attempts:.2} attempts, the last after {time:?}");
    assert!(attempts <= 3.0 && time <= 120 * SECOND, "{attempts} {time:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_limit_was_raised_requests_are_told_less() {
    let site = Site::fixed(16, 50);
    site.layer.limiter().replace_limit(Fixed::new(4));
    let flood = site.flood(0.15 * site.per_second(), Priority::Normal, 1);
    sleep(30 * SECOND).await;
    let told = |rejections: &[Rejection]| {
        let waits = rejections.iter().map(|told| told.wait.as_secs_f64());
        waits.sum::<f64>() / rejections.len() as f64
    };
    let low = site.herd(2_000).await;
    let before = told(&low);
    let results = until_admitted(&site, low).await;
    site.layer.limiter().replace_limit(Fixed::new(16));
    sleep(10 * SECOND).await;
    let after = told(&site.herd(2_000).await);
    flood.abort();
    println!("mean {before:.1} s, {after:.1} s after; {:.2} attempts", mean_attempts(&results));
    assert!(mean_attempts(&results) <= 1.1);
    assert!(after <= before / 2.0, "{before} {after}");
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_process_that_was_replaced_are_served_by_the_new_one() {
    let (site, rejections, flood) = with_a_herd(3_000).await;
    flood.abort();
    drop(site);
    // It knows neither its throughput nor the tickets. What was told and the steady load are 1.35 times its capacity.
    let site = Site::fixed(16, 50);
    let flood = site.flood(0.5 * site.per_second(), Priority::Normal, 2);
    let (count, results) = (rejections.len(), until_admitted(&site, rejections).await);
    flood.abort();
    let (attempts, time) = (mean_attempts(&results), longest(&results));
    println!("{count} told: {attempts:.2} attempts, the last after {time:?}");
    assert!(attempts <= 2.0 && time <= 60 * SECOND, "{attempts} {time:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_replica_that_is_gone_are_served_by_the_other() {
    // Two replicas at .45 each: one alone has nine tenths of its capacity to do.
    let sites = [Site::fixed(16, 50), Site::fixed(16, 50)];
    let steady = sites.clone().map(|site| site.flood(0.4 * site.per_second(), Priority::Normal, 1));
    sleep(30 * SECOND).await;
    let mut rejections = sites[0].herd(1_500).await;
    rejections.extend(sites[1].herd(1_500).await);
    let [one, gone] = steady;
    gone.abort();
    let moved = sites[0].flood(0.4 * sites[0].per_second(), Priority::Normal, 3);
    let (count, results) = (rejections.len(), until_admitted(&sites[0], rejections).await);
    one.abort();
    moved.abort();
    let (attempts, time) = (mean_attempts(&results), longest(&results));
    println!("{count} told: {attempts:.2} attempts, the last after {time:?}");
    assert!(attempts <= 2.5 && time <= 90 * SECOND, "{attempts} {time:?}");
}

#[tokio::test(start_paused = true)]
async fn promises_outlive_a_pause_and_a_drain_that_is_taken_back() {
    for drains in [true, false] {
        let (site, rejections, flood) = with_a_herd(2_000).await;
        let count = rejections.len();
        let limiter = site.layer.limiter().clone();
        match drains {
            true => limiter.drain(),
            false => limiter.pause(2 * SECOND),
        }
        let operator = tokio::spawn(async move {
            sleep(2 * SECOND).await;
            limiter.resume();
        });
        let results = until_admitted(&site, rejections).await;
        operator.await.expect("no panic");
        flood.abort();
        let (attempts, time) = (mean_attempts(&results), longest(&results));
        println!("drain: {drains}, {count} told: {attempts:.2} attempts, last after {time:?}");
        assert!(attempts <= 3.0 && time <= 30 * SECOND, "{attempts} {time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_an_operator_removes_does_not_break_promises_for_good() {
    let (site, rejections, flood) = with_a_herd(2_000).await;
    site.layer.limiter().bound_queue(QueueBounds::NONE);
    let results = until_admitted(&site, rejections).await;
    flood.abort();
    let late = results.iter().map(|&(attempts, _)| attempts <= 20).collect::<Vec<_>>();
    println!("{:.2} attempts, last after {:?}", mean_attempts(&results), longest(&results));
    assert!(share(&late) >= 0.999 && mean_attempts(&results) <= 3.0);
}
