//! Compartments and tenants whose requests never end, and what the others still get.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadSet, Compartment, Priority, QueueBounds, Reason, RequestInfo,
    SHED_REASON, Tenant,
};

const SERVICE_TIME: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// Responds after [`SERVICE_TIME`], or never.
fn service()
-> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(async |request: Request<()>| {
        if request.uri().path() == "/hangs" {
            std::future::pending::<()>().await;
        }
        sleep(SERVICE_TIME).await;
        Ok(Response::new(String::new()))
    })
}

fn request(path: &str) -> Request<()> {
    Request::builder().uri(path).body(()).expect("a request")
}

/// Sends this many requests at once; the status, the reason of a rejection, and the time of each.
async fn burst(layer: &AdmissionLayer, count: usize) -> Vec<(u16, Option<String>, Duration)> {
    let mut sent = JoinSet::new();
    for _ in 0..count {
        let call = layer.layer(service()).oneshot(request("/"));
        sent.spawn(async move {
            let start = Instant::now();
            let response = call.await.expect("infallible");
            let reason = response.headers().get(SHED_REASON);
            let reason = reason.map(|it| it.to_str().expect("ASCII").to_owned());
            (response.status().as_u16(), reason, start.elapsed())
        });
    }
    sent.join_all().await
}

/// Requests that hang until `patience` is over, all at once.
fn hang(layer: &AdmissionLayer, count: usize, patience: Duration) -> JoinSet<()> {
    let mut hanging = JoinSet::new();
    for _ in 0..count {
        let call = layer.layer(service()).oneshot(request("/hangs"));
        hanging.spawn(async move { drop(timeout(patience, call).await) });
    }
    hanging
}

#[tokio::test(start_paused = true)]
async fn a_loan_to_a_compartment_that_hangs_comes_back_when_its_requests_time_out() {
    let set = BulkheadSet::total(20).compartment("lends", 10).compartment("borrows", 10);
    let (lends, borrows) = (set.layer("lends"), set.layer("borrows"));
    let hanging = hang(&borrows, 100, 10 * SECOND);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(borrows.snapshot().in_flight, 15, "its own, and half of what is idle");
    // No permit can be taken from a request that runs: half of the guarantee is there at once, and the rest waits for a
    // second.
    let results = burst(&lends, 10).await;
    let served: Vec<_> = results.iter().filter(|it| it.0 == 200).collect();
    assert_eq!(served.len(), 10, "those that wait run when the first have ended: {results:?}");
    assert!(served.iter().all(|it| it.2 <= 2 * SERVICE_TIME + Duration::from_millis(5)));
    let results = burst(&lends, 100).await;
    // A rejection may be delayed by a second where many come at once.
    let latest = 2 * SECOND + Duration::from_millis(5);
    let rejected: Vec<_> = results.iter().filter(|it| it.0 == 503).collect();
    assert!(!rejected.is_empty() && rejected.iter().all(|it| it.2 <= latest), "{rejected:?}");
    assert!(rejected.iter().all(|it| it.1.as_deref() != Some(Reason::Limit.as_str())));
    // The callers of the borrower give up.
    hanging.join_all().await;
    let results = burst(&lends, 10).await;
    assert!(results.iter().all(|it| it.0 == 200 && it.2 == SERVICE_TIME), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_in_an_adaptive_set_gives_its_loan_back_within_seconds() {
    let set = BulkheadSet::adaptive()
        .compartment("lends", Compartment::guaranteed(20).lend(100))
        .compartment("borrows", 4);
    let (lends, borrows) = (set.layer("lends"), set.layer("borrows"));
    let _hanging = hang(&borrows, 1_000, Duration::MAX);
    // Its requests show no sign of work, and count apart after a while.
    for _ in 0..100 {
        burst(&lends, 4).await;
    }
    for _ in 0..10 {
        let results = burst(&lends, 20).await;
        assert!(results.iter().all(|it| it.0 == 200 && it.2 <= 2 * SERVICE_TIME), "{results:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_that_changes_while_every_compartment_hangs_holds_when_they_end() {
    let names = ["one", "two", "three"];
    let mut set = BulkheadSet::total(30);
    for name in names {
        set = set.compartment(name, Compartment::guaranteed(4).lend(100));
    }
    let in_flight = || names.iter().map(|name| set.layer(name).snapshot().in_flight).sum::<usize>();
    let mut hanging = Vec::new();
    for name in names {
        hanging.push(hang(&set.layer(name), 50, Duration::MAX));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(in_flight(), 30);
    for total in [12, 60, 13, 1_000_000, 14, 20] {
        set.set_total(total);
        sleep(Duration::from_millis(1)).await;
        assert!(in_flight() <= total.max(150), "{total}: {}", in_flight());
        let results = burst(&set.layer("one"), 3).await;
        assert!(results.iter().all(|it| it.2 <= SECOND + 2 * SERVICE_TIME), "{results:?}");
    }
    hanging.iter_mut().for_each(JoinSet::abort_all);
    for requests in &mut hanging {
        while requests.join_next().await.is_some() {}
    }
    assert_eq!(in_flight(), 0);
    assert_eq!(set.permits(), 20);
    for name in names {
        let results = burst(&set.layer(name), 18).await;
        assert!(results.iter().all(|it| it.0 == 200), "{name}: {results:?}");
        assert!(results.iter().filter(|it| it.2 == SERVICE_TIME).count() >= 16, "{results:?}");
    }
    let mut all = Vec::new();
    for name in names {
        let layer = set.layer(name);
        all.push(tokio::spawn(async move { burst(&layer, 30).await }));
    }
    sleep(SERVICE_TIME / 2).await;
    assert!(in_flight() <= 20, "{}", in_flight());
    for results in all {
        assert_eq!(results.await.expect("no panic").len(), 30);
    }
}

#[tokio::test(start_paused = true)]
async fn tenants_that_hang_in_every_class_at_once_leave_the_others_served() {
    const CLASSES: [Priority; 4] =
        [Priority::Sheddable, Priority::Deferrable, Priority::Normal, Priority::Critical];
    let layer = AdmissionLayer::adaptive("hang-in-every-class");
    let send = |path: &str, tenant: u64, priority: Priority| {
        let info = RequestInfo::default().tenant(Tenant::new(tenant)).priority(priority);
        let mut request = request(path);
        request.extensions_mut().insert(info);
        layer.layer(service()).oneshot(request)
    };
    let mut rng = fastrand::Rng::with_seed(3);
    let (mut hanging, mut sent) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    for tick in 0..4_000 {
        // Forty requests a second of eight tenants never end; a hundred of thirty others take 100 ms.
        if tick % 5 == 0 {
            for priority in CLASSES {
                hanging.spawn(send("/hangs", rng.u64(..8), priority));
            }
        }
        let call = send("/", 100 + rng.u64(..30), Priority::Normal);
        let is_scored = start.elapsed() > 10 * SECOND;
        sent.spawn(async move {
            let status = call.await.expect("infallible").status().as_u16();
            is_scored.then_some(status)
        });
        sleep(SECOND / 100).await;
    }
    let statuses: Vec<_> = sent.join_all().await.into_iter().flatten().collect();
    let served = statuses.iter().filter(|&&status| status == 200).count();
    assert!(100 * served >= 99 * statuses.len(), "{served} of {}", statuses.len());
    hanging.abort_all();
    while hanging.join_next().await.is_some() {}
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_hangs_under_a_fixed_limit_gets_what_the_others_leave_once_its_first_requests_end()
 {
    const PATIENCE: Duration = Duration::from_secs(10);
    let queue = QueueBounds::new(64, SECOND);
    let layer = AdmissionLayer::fixed("hang-under-a-fixed-limit", 40).queue(queue);
    let send = |path: &str, tenant: u64| {
        let mut request = request(path);
        request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
        layer.layer(service()).oneshot(request)
    };
    let (mut hanging, mut sent) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    for tick in 0..8_000_u64 {
        // Three tenants need half of the limit. The fourth asks for fifty times the limit, and holds each permit until
        // its callers give up. What it has taken while permits were idle cannot be taken back before.
        let call = send("/", 100 + tick % 3);
        let is_scored = start.elapsed() > 2 * PATIENCE;
        sent.spawn(async move { (is_scored, call.await.expect("infallible").status() == 200) });
        if tick > 200 {
            let call = send("/hangs", 1);
            hanging.spawn(async move { drop(timeout(PATIENCE, call).await) });
        }
        sleep(SECOND / 200).await;
    }
    let results: Vec<_> = sent.join_all().await.into_iter().filter(|it| it.0).collect();
    let served = results.iter().filter(|it| it.1).count();
    assert!(10 * served >= 9 * results.len(), "{served} of {}", results.len());
    hanging.abort_all();
    while hanging.join_next().await.is_some() {}
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_tenant_that_hangs_gets_no_second_share_when_it_becomes_known() {
    let layer = AdmissionLayer::fixed("a-new-tenant-hangs", 40);
    let send = |path: &str, tenant: u64| {
        let mut request = request(path);
        request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
        layer.layer(service()).oneshot(request)
    };
    let (mut hanging, mut sent) = (JoinSet::new(), JoinSet::new());
    for tick in 0..1_600_u64 {
        // Ten tenants need half of the limit. The new one finds the other half idle, within its first second.
        let call = send("/", 100 + tick % 10);
        sent.spawn(async move { call.await.expect("infallible").status() == 200 });
        if tick > 400 {
            hanging.spawn(send("/hangs", 1));
        }
        sleep(SECOND / 200).await;
    }
    let served = sent.join_all().await.into_iter().filter(|&served| served).count();
    let held = layer.snapshot().in_flight;
    // Half of the limit, and the permits that were idle between two requests of the others.
    assert!(held <= 24, "{held} permits held");
    assert!(served >= 1_440, "{served} served");
    hanging.abort_all();
    while hanging.join_next().await.is_some() {}
    assert_eq!(layer.snapshot().in_flight, 0);
}
