//! Requests whose callers leave before any response could come, as streams that are reset (CVE-2023-44487), beside
//! half of the load that a pool can serve; on the paused clock.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, RequestInfo, Tenant};

const SLOTS: usize = 40;
const WORK: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(8);
/// Callers that leave, a second, and after how many milliseconds.
const RESETS: [(f64, u32); 9] = [
    (300.0, 0),
    (300.0, 20),
    (3_000.0, 0),
    (3_000.0, 1),
    (3_000.0, 5),
    (3_000.0, 20),
    (10_000.0, 0),
    (10_000.0, 1),
    (10_000.0, 5),
];
const MILLI: Duration = Duration::from_millis(1);

/// A service whose requests occupy a slot each.
fn pool()
-> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: 'static> + Clone
{
    let slots = Rc::new(Semaphore::new(SLOTS));
    service_fn(move |_: Request<()>| {
        let slots = Rc::clone(&slots);
        async move {
            let _slot = slots.acquire().await.expect("never closed");
            sleep(WORK).await;
            Ok(Response::new(String::new()))
        }
    })
}

/// Marks a request as one of this tenant.
fn mark(mut request: Request<()>, tenant: Option<u8>) -> Request<()> {
    let info = tenant.map(|it| RequestInfo::default().tenant(Tenant::new(it)));
    request.extensions_mut().insert(info.unwrap_or_default());
    request
}

/// The share of patient requests that were served, at half of what the pool can serve, beside `resets` a second whose
/// callers leave `after` they came. Each of the two is of a tenant, or of none.
async fn served_beside(
    layer: AdmissionLayer,
    resets: f64,
    after: Duration,
    tenants: [Option<u8>; 2],
) -> f64 {
    let service = ServiceBuilder::new().layer(layer).service(pool());
    let [patient, impatient] =
        tenants.map(|it| service.clone().map_request(move |request| mark(request, it)));
    let run = async {
        let impatient = spawn_local(send(impatient, resets, after));
        let per_second = 0.5 * SLOTS as f64 / WORK.as_secs_f64();
        let served = send(patient, per_second, PATIENCE).await;
        impatient.abort();
        served
    };
    LocalSet::new().run_until(run).await
}

/// Sends this many requests a second; the share of them that was served while their callers waited.
async fn send<S, B: 'static>(mut service: S, per_second: f64, patience: Duration) -> f64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
{
    let mut rng = fastrand::Rng::with_seed(7);
    let (start, mut next) = (Instant::now(), Instant::now());
    let mut calls = JoinSet::new();
    while next < start + RUN {
        sleep_until(next).await;
        next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / per_second);
        let call = service.ready().await.expect("always ready").call(Request::new(()));
        calls.spawn_local(async move {
            let response = timeout(patience, call).await;
            response.is_ok_and(|response| response.is_ok_and(|it| it.status().is_success()))
        });
    }
    let sent = calls.len() as f64;
    calls.join_all().await.into_iter().filter(|&served| served).count() as f64 / sent
}

#[tokio::test(start_paused = true)]
async fn others_are_served_beside_callers_that_leave_before_a_response_could_come() {
    for (resets, after) in RESETS {
        for layer in [AdmissionLayer::adaptive("adaptive"), AdmissionLayer::fixed("fixed", SLOTS)] {
            let served = served_beside(layer.clone(), resets, after * MILLI, [None; 2]).await;
            assert!(
                served > 0.98,
                "{served:.3} beside {resets}/s, {after} ms: {:?}",
                layer.snapshot()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn demand_that_comes_after_callers_that_left_at_once_is_seen() {
    for layer in [AdmissionLayer::adaptive("adaptive"), AdmissionLayer::fixed("fixed", SLOTS)] {
        let service = ServiceBuilder::new().layer(layer.clone()).service(pool());
        let run = async {
            send(service.clone(), 3_000.0, 5 * MILLI).await;
            send(service, 2_000.0, PATIENCE).await
        };
        let served = LocalSet::new().run_until(run).await;
        // Twice what the pool can serve: a queue of a second would have half of this served too late.
        assert!((0.45..0.55).contains(&served), "{served:.3}: {:?}", layer.snapshot());
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_later_take_no_more_than_the_share_of_their_tenant() {
    for after in [60, 300] {
        for layer in [AdmissionLayer::adaptive("adaptive"), AdmissionLayer::fixed("fixed", SLOTS)] {
            let served =
                served_beside(layer.clone(), 3_000.0, after * MILLI, [Some(1), Some(2)]).await;
            // Its share is all that it asks for, so that chance exceeds it now and then.
            assert!(served > 0.88, "{served:.3} beside {after} ms: {:?}", layer.snapshot());
        }
    }
}
