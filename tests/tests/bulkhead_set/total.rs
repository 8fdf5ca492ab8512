//! The total of all compartments: fixed, changed while requests run, and adaptive.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, service_fn};
use tower_backpressure::{BulkheadSet, Compartment, QueueBounds};

use crate::support::{SERVICE_TIME, request, send, service};

#[tokio::test(start_paused = true)]
async fn a_lower_total_takes_effect_as_requests_complete() {
    let set = BulkheadSet::total(10)
        .compartment("one", Compartment::guaranteed(2).queue(QueueBounds::NONE))
        .compartment("two", Compartment::guaranteed(2).queue(QueueBounds::NONE));
    let one = set.layer("one").layer(service());
    let mut running = JoinSet::new();
    for _ in 0..8 {
        running.spawn(send(one.clone(), request(SERVICE_TIME)));
    }
    sleep(Duration::from_millis(1)).await;
    set.set_total(5);
    assert_eq!(set.layer("one").snapshot().in_flight, 8, "what runs is not interrupted");
    running.join_all().await;
    for total in [5, 9, 4] {
        set.set_total(total);
        let mut running = JoinSet::new();
        for _ in 0..20 {
            running.spawn(send(one.clone(), request(SERVICE_TIME)));
        }
        let served = running.join_all().await.iter().filter(|it| it.0 == 200).count();
        // One of the two of the other compartment can be borrowed.
        assert_eq!(served, total - 1, "of {total}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_total_follows_the_pool_behind_all_compartments() {
    // Twelve connections of 25 ms: 480 requests a second. Both compartments together ask for twice that.
    let pool = std::sync::Arc::new(tokio::sync::Semaphore::new(12));
    let set = BulkheadSet::with_limit(tower_backpressure::Adaptive::new(4))
        .compartment("one", 4)
        .compartment("two", 2);
    let inner = service_fn(move |_: Request<()>| {
        let pool = std::sync::Arc::clone(&pool);
        async move {
            let _connection = pool.acquire().await.expect("never closed");
            sleep(Duration::from_millis(25)).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let mut running = JoinSet::new();
    let mut rng = fastrand::Rng::with_seed(4);
    let start = Instant::now();
    let mut at = start;
    while at < start + Duration::from_secs(40) {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / 960.0);
        tokio::time::sleep_until(at).await;
        let name = if rng.bool() { "one" } else { "two" };
        let service = set.layer(name).layer(inner.clone());
        let is_scored = at > start + Duration::from_secs(20);
        running.spawn(async move {
            let (status, took) = send(service, request(None)).await;
            is_scored && status == 200 && took < Duration::from_millis(500)
        });
    }
    let total = set.permits();
    let served = running.join_all().await.into_iter().filter(|&served| served).count();
    println!("total {total}, {} a second of 480", served / 20);
    assert!((12..=24).contains(&total), "it starts at 48");
    assert!(served / 20 > 450);
}
