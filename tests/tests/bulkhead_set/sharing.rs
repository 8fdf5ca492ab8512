//! What each compartment is guaranteed, what it borrows, and how that comes back.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadSet, Compartment, QueueBounds};

use crate::support::{SERVICE_TIME, in_flight, request, send, service};

#[tokio::test(start_paused = true)]
async fn a_hanging_compartment_leaves_the_others_what_is_theirs() {
    // Neither how much it had borrowed nor for how long matters.
    let set = BulkheadSet::total(100)
        .compartment("hangs", Compartment::guaranteed(20))
        .compartment("busy", Compartment::guaranteed(30))
        .compartment("strict", Compartment::guaranteed(20).lend(0));
    let hangs = set.layer("hangs").layer(service());
    let mut hanging = JoinSet::new();
    for _ in 0..500 {
        hanging.spawn(send(hangs.clone(), request(None)));
    }
    sleep(Duration::from_millis(1)).await;
    let taken = set.layer("hangs").snapshot().in_flight;
    // Its own, what belongs to no one, and a half of what is idle where that is lent.
    assert_eq!(taken, 20 + 30 + 15);
    for (name, at_once) in [("busy", 15), ("strict", 20)] {
        let other = set.layer(name).layer(service());
        for _ in 0..20 {
            let mut requests = JoinSet::new();
            for _ in 0..at_once {
                requests.spawn(send(other.clone(), request(SERVICE_TIME)));
            }
            for (status, took) in requests.join_all().await {
                assert_eq!((status, took), (200, SERVICE_TIME), "{name}");
            }
        }
    }
    assert!(in_flight(&set, &["hangs", "busy", "strict"]) <= 100);
}

#[tokio::test(start_paused = true)]
async fn what_was_borrowed_comes_back_within_one_service_time() {
    let set = BulkheadSet::total(20)
        .compartment("lends", Compartment::guaranteed(10).lend(100).queue(QueueBounds::NONE))
        .compartment("borrows", 10);
    let (lends, borrows) =
        (set.layer("lends").layer(service()), set.layer("borrows").layer(service()));
    // For ten seconds the borrower has twice the demand of all permits.
    let borrowing = tokio::spawn(async move {
        let mut requests = JoinSet::new();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            requests.spawn(send(borrows.clone(), request(SERVICE_TIME)));
            sleep(Duration::from_micros(2_500)).await;
        }
        let results = requests.join_all().await;
        results.into_iter().filter(|(status, _)| *status == 200).count()
    });
    sleep(Duration::from_secs(3)).await;
    assert_eq!(set.layer("borrows").snapshot().in_flight, 19, "all but one that is never lent");
    // Then the lender wants all that is its own.
    for round in 0..20 {
        let mut requests = JoinSet::new();
        for _ in 0..10 {
            requests.spawn(send(lends.clone(), request(SERVICE_TIME)));
        }
        for (status, took) in requests.join_all().await {
            assert_eq!(status, 200, "a request within the guarantee is not rejected");
            // A service time of the borrower, and its own. What is idle between two rounds is lent again. Timers are
            // as fine as a millisecond, and several follow each other.
            let limit = 2 * SERVICE_TIME + Duration::from_millis(5);
            assert!(took <= limit, "round {round}: {took:?}");
        }
        assert!(in_flight(&set, &["lends", "borrows"]) <= 20);
    }
    let served = borrowing.await.expect("no panic");
    println!("the borrower was served {served} times");
    assert!(served > 1_400, "idle permits were used: {served}");
}

#[tokio::test(start_paused = true)]
async fn cancelled_and_panicking_requests_and_dry_runs_lose_no_permit() {
    let set = BulkheadSet::total(12)
        .compartment("one", Compartment::guaranteed(4).lend(100))
        .compartment("two", Compartment::guaranteed(4).lend(100));
    let panics = service_fn(async |request: Request<()>| {
        sleep(SERVICE_TIME).await;
        assert!(request.uri().path() != "/panic", "on purpose");
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let services = [
        set.layer("one").layer(panics),
        set.layer("two").dry_run(true).layer(panics),
        set.layer("two").exempt(|head| head.uri.path() == "/exempt").layer(panics),
    ];
    let mut rng = fastrand::Rng::with_seed(9);
    let mut running = JoinSet::new();
    for _ in 0..3_000 {
        let mut request = Request::new(());
        let path = ["/", "/", "/panic", "/exempt"][rng.usize(..4)];
        *request.uri_mut() = path.parse().expect("valid");
        let sent = send(services[rng.usize(..3)].clone(), request);
        let patience = Duration::from_millis(rng.u64(..200));
        running.spawn(async move { tokio::time::timeout(patience, sent).await.is_ok() });
        sleep(Duration::from_millis(rng.u64(..6))).await;
        assert!(set.layer("one").limiter().snapshot().in_flight <= 12);
    }
    while running.join_next().await.is_some() {}
    sleep(Duration::from_secs(2)).await;
    for name in ["one", "two"] {
        let snapshot = set.layer(name).snapshot();
        assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0), "{name}");
    }
    // All of it can be used again, but for the last permit of the other.
    let mut requests = JoinSet::new();
    for _ in 0..11 {
        requests.spawn(send(services[0].clone(), Request::new(())));
    }
    assert!(requests.join_all().await.iter().all(|it| *it == (200, SERVICE_TIME)));
}

/// Requests at random times for twenty seconds, with 100 ms of work each; the times of those that were served after the
/// first five, in order.
async fn served_at(layer: AdmissionLayer, per_second: f64, seed: u64) -> Vec<Duration> {
    let (start, mut rng) = (Instant::now(), fastrand::Rng::with_seed(seed));
    let (mut at, mut sent) = (start, JoinSet::new());
    while at < start + Duration::from_secs(20) {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / per_second);
        sleep_until(at).await;
        let call = send(layer.layer(service()), request(Duration::from_millis(100)));
        let is_scored = at > start + Duration::from_secs(5);
        sent.spawn(async move { (is_scored, call.await) });
    }
    let all = sent.join_all().await.into_iter();
    let mut times: Vec<_> =
        all.filter(|(is_scored, it)| *is_scored && it.0 == 200).map(|it| it.1.1).collect();
    times.sort_unstable();
    times
}

#[tokio::test(start_paused = true)]
async fn a_compartment_above_its_permits_waits_as_a_layer_of_its_own_and_the_others_do_not() {
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    for seed in 0..3 {
        let set = BulkheadSet::total(30).compartment("one", 10).compartment("two", 10);
        let set = set.compartment("full", 10);
        let [one, two, full] = [("one", 50.0), ("two", 50.0), ("full", 260.0)]
            .map(|(name, rate)| tokio::spawn(served_at(set.layer(name), rate, seed ^ rate as u64)));
        for within in [one.await, two.await].map(|it| it.expect("no panic")) {
            assert!(p99(&within) <= Duration::from_millis(200), "seed {seed}: {:?}", p99(&within));
        }
        let full = full.await.expect("no panic");
        let alone = served_at(AdmissionLayer::fixed("alone", 20), 260.0, seed).await;
        println!("seed {seed}: p99 {:?}, alone {:?}", p99(&full), p99(&alone));
        let longest = Duration::from_millis(1_110);
        assert!(p99(&full) <= longest && p99(&alone) <= longest);
        // The others keep a quarter more than they use.
        assert!(4 * full.len() >= 3 * alone.len(), "{} and {}", full.len(), alone.len());
    }
}
