//! A service whose handlers call it again: requests hold permits while their own calls wait for one.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastrand::Rng;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::AdmissionLayer;

/// A request, and how many calls are below it.
type Call = Request<u32>;
type Handler = BoxCloneSyncService<Call, Response<String>, Infallible>;

/// Marks what the service itself has sent.
#[derive(Clone)]
struct Own;

/// The bottleneck that each request and each call passes.
const SLOTS: usize = 8;
const WORK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(1);
const LENGTH: Duration = Duration::from_secs(40);

/// The share of what the service can do that callers get in time, at this load over capacity, in the second half of a run.
fn served(layer: impl FnOnce() -> AdmissionLayer, load: f64, depth: u32) -> f64 {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let service = service(&layer());
        let capacity = SLOTS as f64 / WORK.as_secs_f64() / f64::from(depth + 1);
        let in_time = Arc::new(AtomicU64::new(0));
        let (start, mut at, mut rng) = (Instant::now(), Instant::now(), Rng::with_seed(7));
        let mut measured = 0;
        while at < start + LENGTH {
            at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / (load * capacity));
            sleep_until(at).await;
            let (service, in_time) = (service.clone(), Arc::clone(&in_time));
            let counts = at > start + LENGTH / 2;
            measured += u64::from(counts);
            tokio::spawn(async move {
                let call = timeout_at(at + PATIENCE, service.oneshot(Request::new(depth)));
                let is_served = matches!(call.await, Ok(Ok(status)) if status == 200);
                in_time.fetch_add(u64::from(counts && is_served), Ordering::Relaxed);
            });
        }
        sleep(PATIENCE).await;
        in_time.load(Ordering::Relaxed) as f64 / (measured as f64 / load.max(1.0))
    })
}

/// The service behind the layer, which answers with a status.
fn service(layer: &AdmissionLayer) -> BoxCloneSyncService<Call, StatusCode, Infallible> {
    let root = Arc::new(OnceLock::new());
    let handler = handler(Arc::clone(&root));
    let service = BoxCloneSyncService::new(layer.layer(handler).map_response(status));
    root.set(service.clone()).expect("set once");
    service
}

fn status<B: Body>(response: Response<B>) -> StatusCode {
    response.status()
}

fn handler(root: Arc<OnceLock<BoxCloneSyncService<Call, StatusCode, Infallible>>>) -> Handler {
    let pool = Arc::new(Semaphore::new(SLOTS));
    BoxCloneSyncService::new(service_fn(move |request: Call| {
        let (pool, root) = (Arc::clone(&pool), Arc::clone(&root));
        async move {
            let slot = pool.acquire().await.expect("open");
            sleep(WORK).await;
            drop(slot);
            let mut answer = Response::new(String::new());
            if let Some(depth) = request.into_body().checked_sub(1) {
                let mut call = Request::new(depth);
                call.extensions_mut().insert(Own);
                let root = root.get().expect("set before requests").clone();
                if root.oneshot(call).await? != 200 {
                    *answer.status_mut() = StatusCode::BAD_GATEWAY;
                }
            }
            Ok(answer)
        }
    }))
}

fn exempt(layer: AdmissionLayer) -> AdmissionLayer {
    layer.exempt(|head: &Parts| head.extensions.get::<Own>().is_some())
}

#[test]
fn a_service_that_calls_itself_is_served_below_its_capacity() {
    for depth in [1, 3] {
        let share = served(|| AdmissionLayer::adaptive("self"), 0.9, depth);
        println!("depth {depth}: {share:.3}");
        assert!(share >= 0.99, "{depth}: {share}");
    }
}

#[test]
fn calls_of_a_service_to_itself_that_are_exempt_waste_nothing_under_overload() {
    for depth in [1, 3] {
        for load in [2.0, 4.0] {
            let limited = served(|| AdmissionLayer::adaptive("self"), load, depth);
            let adaptive = served(|| exempt(AdmissionLayer::adaptive("self")), load, depth);
            let fixed = served(|| exempt(AdmissionLayer::fixed("self", 16)), load, depth);
            println!("depth {depth}, {load}×: {limited:.3}, exempt {adaptive:.3} and {fixed:.3}");
            assert!(adaptive >= 0.95 && fixed >= 0.95, "{depth}: {adaptive} {fixed}");
            // Bare it is .02 at twice the capacity.
            assert!(limited >= 0.15, "{depth} {load}: {limited}");
        }
    }
}
