//! Bulkheads that share a total: what each is guaranteed, what it borrows, and how that comes back.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::server::{ByHeader, ByTenant, Handle};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, BulkheadSet, Compartment, QueueBounds, Reason, RequestInfo,
    SHED_REASON, Tenant,
};

const SERVICE_TIME: Duration = Duration::from_millis(100);

/// Responds after the time in the request's extensions, or never.
fn service()
-> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(async |request: Request<()>| {
        match request.extensions().get::<Duration>() {
            Some(time) => sleep(*time).await,
            None => std::future::pending().await,
        }
        Ok(Response::new(String::new()))
    })
}

fn request(time: impl Into<Option<Duration>>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(time) = time.into() {
        request.extensions_mut().insert::<Duration>(time);
    }
    request
}

/// Sends a request; its status and how long the response took.
async fn send<S>(service: S, request: Request<()>) -> (u16, Duration)
where
    S: Service<Request<()>, Error = Infallible>,
    S::Response: Into<Response<tower_backpressure::ResponseBody<String>>>,
{
    let start = Instant::now();
    let Ok(response) = service.oneshot(request).await;
    (response.into().status().as_u16(), start.elapsed())
}

fn in_flight(set: &BulkheadSet, names: &[&str]) -> usize {
    names.iter().map(|name| set.layer(name).snapshot().in_flight).sum()
}

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
async fn compartments_have_queues_reasons_and_handles_of_their_own() {
    let set = BulkheadSet::total(4)
        .compartment("one", Compartment::guaranteed(2).lend(0).queue(QueueBounds::NONE))
        .compartment(
            "two",
            Compartment::guaranteed(2).queue(QueueBounds::new(1, Duration::from_millis(50))),
        );
    let services = ["one", "two"].map(|name| set.layer(name).layer(service()));
    let mut running = JoinSet::new();
    for service in &services {
        for _ in 0..2 {
            running.spawn(send(service.clone(), request(Duration::from_secs(1))));
        }
    }
    sleep(Duration::from_millis(1)).await;
    let reason = async |index: usize| {
        let response = services[index].clone().oneshot(request(SERVICE_TIME)).await;
        let response = response.expect("infallible");
        let reason = response.headers().get(SHED_REASON).expect("rejected");
        reason.to_str().expect("ASCII").to_owned()
    };
    assert_eq!(reason(0).await, Reason::Limit.as_str());
    assert_eq!(reason(1).await, Reason::QueueTimeout.as_str());
    let handle = Handle::named("two").expect("it exists");
    assert_eq!(handle.snapshot().in_flight, 2);
    handle.pin(1_000);
    assert_eq!(reason(1).await, Reason::QueueTimeout.as_str(), "an operator mints no permits");
    running.join_all().await;
    assert_eq!(in_flight(&set, &["one", "two"]), 0);
}

#[tokio::test(start_paused = true)]
async fn one_layer_selects_the_compartment_by_the_head_of_a_request() {
    let set = BulkheadSet::total(10)
        .compartment("other", Compartment::guaranteed(1).max(1).queue(QueueBounds::NONE))
        .compartment("batch", Compartment::guaranteed(2).max(2).queue(QueueBounds::NONE));
    let layer = set.by("other", |head| match head.uri.path() {
        "/batch" => Some("batch"),
        "/nowhere" => Some("no such compartment"),
        _ => None,
    });
    let service = layer.layer(service());
    let mut running = JoinSet::new();
    for path in ["/batch", "/batch", "/batch", "/", "/nowhere"] {
        let mut request = request(SERVICE_TIME);
        *request.uri_mut() = path.parse().expect("valid");
        running.spawn(send(service.clone(), request));
    }
    let served = running.join_all().await.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(served, 3, "two of batch, one of all others");
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
async fn a_set_inside_an_admission_layer_teaches_it_nothing() {
    let set = BulkheadSet::total(4)
        .compartment("one", Compartment::guaranteed(2).queue(QueueBounds::NONE))
        .compartment("two", Compartment::guaranteed(2).lend(0));
    let outer = AdmissionLayer::fixed("outer", 64);
    let service = outer.layer(set.layer("one").layer(service()));
    let mut running = JoinSet::new();
    for _ in 0..10 {
        let service = service.clone();
        running.spawn(async move {
            let response = service.oneshot(request(SERVICE_TIME)).await.expect("infallible");
            (response.status().as_u16(), response.headers().contains_key("x-shed-reason"))
        });
    }
    let results = running.join_all().await;
    assert_eq!(results.iter().filter(|it| it.0 == 200).count(), 2);
    assert!(
        results.iter().all(|it| !it.1),
        "the outer layer admitted them: no promise is passed on"
    );
    assert_eq!(outer.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_compartment_of_its_own() {
    let service = BulkheadLayer::per("tenants", 2, ByTenant).layer(service());
    let mut running = JoinSet::new();
    for tenant in [1, 1, 1, 2, 2, 3] {
        let mut request = request(SERVICE_TIME);
        request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
        running.spawn(send(service.clone(), request));
    }
    for _ in 0..3 {
        running.spawn(send(service.clone(), request(SERVICE_TIME)));
    }
    let served = running.join_all().await.iter().filter(|it| it.0 == 200).count();
    assert_eq!(served, 2 + 2 + 1 + 2, "requests without a key share a compartment");
}

#[tokio::test(start_paused = true)]
async fn hostile_keys_take_bounded_memory_and_harm_no_other_key() {
    let key = ByHeader::new(http::HeaderName::from_static("x-api-key"));
    let layer = BulkheadLayer::per("keys", 1, key);
    let inner = service_fn(async |request: Request<()>| {
        if let Some(time) = request.extensions().get::<Duration>() {
            sleep(*time).await;
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = layer.layer(inner);
    let with_key = |key: &[u8]| {
        let mut request = Request::new(());
        let value = http::HeaderValue::from_bytes(key).expect("valid");
        request.headers_mut().insert("x-api-key", value);
        request
    };
    let mut held = with_key(b"held");
    held.extensions_mut().insert(Duration::from_secs(5));
    let holder = tokio::spawn(send(service.clone(), held));
    sleep(Duration::from_millis(1)).await;
    for number in 0..50_000u32 {
        let (status, _) = send(service.clone(), with_key(&number.to_string().into_bytes())).await;
        assert_eq!(status, 200);
    }
    let long = vec![b'k'; 1_000_000];
    assert_eq!(send(service.clone(), with_key(&long)).await.0, 200);
    assert_eq!(send(service.clone(), with_key(b"\xFF\xFE")).await.0, 200);
    // In use, it was not forgotten.
    assert_eq!(send(service.clone(), with_key(b"held")).await.0, 503);
    assert_eq!(holder.await.expect("no panic").0, 200);
    assert_eq!(send(service, with_key(b"held")).await.0, 200);
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
        let longest = Duration::from_millis(1_110);
        assert!(p99(&full) <= longest && p99(&alone) <= longest);
        // The others keep a quarter more than they use.
        assert!(4 * full.len() >= 3 * alone.len(), "{} and {}", full.len(), alone.len());
    }
}
