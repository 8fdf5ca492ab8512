//! A service with a runtime of one thread for each core: each has a queue of its own, and none takes work from another.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{Adaptive, AdmissionLayer};

const RUNTIMES: u64 = 8;
/// Workers that a shared limit is told of for each thread: it then lets in this many requests for each at least, so that
/// hardly any thread is idle while others have a queue.
const WORKERS_PER_THREAD: u64 = 8;
/// How long a handler keeps its thread. It sleeps, so that a machine of any number of cores can run the test.
const WORK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(1);
const LENGTH: Duration = Duration::from_secs(14);
/// From then on requests are counted.
const KNOWN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    served: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "the work keeps the thread of its runtime")]
async fn handle(_: Request<String>) -> Result<Response<String>, Infallible> {
    thread::sleep(WORK);
    Ok(Response::new(String::new()))
}

/// Sends one runtime its requests at random times, whatever becomes of earlier ones.
async fn send_all(layer: AdmissionLayer, load: f64, seed: u64, counts: Arc<Counts>) {
    let service = layer.layer(service_fn(handle));
    let (mut rng, start) = (Rng::with_seed(seed), Instant::now());
    let (mut at, mut requests) = (start, JoinSet::new());
    while at < start + LENGTH {
        at += WORK.mul_f64(-(1.0 - rng.f64()).ln() / load);
        sleep_until(at).await;
        let (service, counts) = (service.clone(), Arc::clone(&counts));
        let counted = u64::from(at > start + KNOWN);
        counts.sent.fetch_add(counted, Ordering::Relaxed);
        requests.spawn(async move {
            let response = service.oneshot(Request::new(String::new())).await.expect("no error");
            let is_served = response.status() == 200 && at.elapsed() < PATIENCE;
            counts.served.fetch_add(counted * u64::from(is_served), Ordering::Relaxed);
        });
    }
    requests.join_all().await;
}

/// The share of what all runtimes can do that is served in time, at this load over their capacity.
fn served(load: f64, layer: impl Fn() -> AdmissionLayer + Clone + Send + 'static) -> f64 {
    let counts = Arc::new(Counts::default());
    let threads: Vec<_> = (0..RUNTIMES)
        .map(|seed| {
            let (layer, counts) = (layer.clone(), Arc::clone(&counts));
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                // Inside of the runtime: the limit asks how many workers it has.
                let sends = async { send_all(layer(), load, seed, counts).await };
                runtime.expect("a runtime").block_on(sends);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let [sent, served] = [&counts.sent, &counts.served].map(|it| it.load(Ordering::Relaxed) as f64);
    served / (sent / load.max(1.0))
}

#[test]
#[ignore = "takes three minutes of real time, in which nothing else should run"]
fn a_layer_for_each_runtime_or_one_told_of_more_workers_rejects_nothing_below_the_capacity() {
    for (load, least) in [(0.8, 0.98), (0.9, 0.95), (1.5, 0.9), (4.0, 0.9)] {
        let one = |layer: AdmissionLayer| served(load, move || layer.clone());
        let shared = one(AdmissionLayer::adaptive("shared"));
        let workers = usize::try_from(RUNTIMES * WORKERS_PER_THREAD).expect("a small number");
        let told = one(AdmissionLayer::with_limit("told", Adaptive::new(workers)));
        let each = served(load, || AdmissionLayer::adaptive("own"));
        println!(
            "{load}×: one for all {shared:.3}, told of more workers {told:.3}, one for each {each:.3}"
        );
        assert!(each >= least && told >= least, "{load}: {each}, {told}");
    }
}
