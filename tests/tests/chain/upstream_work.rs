//! What the services in front of an overloaded one work in vain, on the paused clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::client::Unavailable;
use tower_backpressure::{
    AdmissionLayer, ClientStack, Priority, RequestInfo, RequestInfoLayer, queued,
};

use super::slow_dependency::{Call, Remote, call, remote, reply};
use super::{MS, SECOND};

/// What the last service can do in a second.
const CAPACITY: f64 = 400.0;
/// What happens before is not judged: the limits are found then.
const WARM_UP: Duration = Duration::from_secs(10);

/// The workers of one service, and what they have worked since the warm-up, in nanoseconds.
#[derive(Clone)]
struct Workers {
    free: Arc<Semaphore>,
    mean: Duration,
    rng: Arc<Mutex<Rng>>,
    start: Instant,
    all: Arc<AtomicU64>,
    in_vain: Arc<AtomicU64>,
}

impl Workers {
    fn new(count: usize, mean: Duration) -> Self {
        let rng = Arc::new(Mutex::new(Rng::with_seed(7)));
        let (all, in_vain) = Default::default();
        let free = Arc::new(Semaphore::new(count));
        Self { free, mean, rng, start: Instant::now(), all, in_vain }
    }

    /// Works, and returns for how long if it counts.
    async fn work(&self) -> u64 {
        let _worker = queued(self.free.acquire()).await.expect("never closed");
        let span = self.mean.mul_f64(-(1.0 - self.rng.lock().expect("no panic").f64()).ln());
        sleep(span).await;
        if self.start.elapsed() < WARM_UP { 0 } else { span.as_nanos() as u64 }
    }

    fn count(&self, work: u64, is_served: bool) {
        self.all.fetch_add(work, Relaxed);
        self.in_vain.fetch_add(if is_served { 0 } else { work }, Relaxed);
    }

    fn share_in_vain(&self) -> f64 {
        self.in_vain.load(Relaxed) as f64 / self.all.load(Relaxed) as f64
    }
}

fn last() -> Remote {
    let workers = Workers::new(4, 10 * MS);
    let handler = service_fn(move |_: Call| {
        let workers = workers.clone();
        async move {
            workers.work().await;
            Ok(reply(StatusCode::OK))
        }
    });
    let layers = ServiceBuilder::new().layer(RequestInfoLayer::from_headers());
    remote(layers.layer(AdmissionLayer::adaptive("last")).service(handler))
}

/// A service that works, waits for `pause` and calls `next`.
fn middle(name: &str, pause: Duration, workers: &Workers, next: Remote) -> Remote {
    let stack = ClientStack::new(name);
    let (client, workers) = (stack.layer(next), workers.clone());
    let handler = service_fn(move |request: Call| {
        let (client, workers) = (client.clone(), workers.clone());
        async move {
            let work = workers.work().await;
            sleep(pause).await;
            let mut next = call();
            RequestInfo::of(request.extensions()).carry_to(&mut next);
            let response = client.oneshot(next).await?;
            workers.count(work, response.status() == StatusCode::OK);
            Ok(match Unavailable::of(&response) {
                Some(unavailable) => unavailable.into_response(),
                None => reply(response.status()),
            })
        }
    });
    let layers = ServiceBuilder::new()
        .layer(RequestInfoLayer::from_headers().trust(|_| true))
        .layer(AdmissionLayer::adaptive(name))
        .layer(stack.dependency(call().uri()));
    remote(layers.service(handler))
}

/// A chain of four, of which the first three can do four times as much as the last.
fn chain(pause: Duration) -> (Remote, Vec<Workers>) {
    let workers: Vec<_> = (0..3).map(|_| Workers::new(8, 5 * MS)).collect();
    let names = ["third", "second", "first"].into_iter().zip(&workers);
    let chain = names.fold(last(), |next, (name, workers)| middle(name, pause, workers, next));
    (chain, workers)
}

/// Calls of this priority at a constant rate. Returns which share of those after the warm-up was served.
async fn served(chain: &Remote, rate: f64, priority: Priority) -> f64 {
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    for index in 0_u32.. {
        let at = Duration::from_secs_f64(f64::from(index) / rate);
        if at >= WARM_UP + 20 * SECOND {
            break;
        }
        sleep_until(start + at).await;
        let chain = chain.clone();
        calls.spawn(async move {
            let mut request = call();
            let info = RequestInfo::default().priority(priority);
            info.deadline(Instant::now() + 3 * SECOND).carry_to(&mut request);
            let response = chain.oneshot(request).await.expect("infallible");
            (at >= WARM_UP).then_some(response.status() == StatusCode::OK)
        });
    }
    let judged: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    judged.iter().filter(|&&served| served).count() as f64 / judged.len() as f64
}

/// Served of the capacity, and the share of the work of each service that was in vain.
async fn served_and_in_vain(load: f64, pause: Duration, seed: u64) -> (f64, [f64; 3]) {
    fastrand::seed(seed);
    let (chain, workers) = chain(pause);
    let served = served(&chain, load * CAPACITY, Priority::Normal).await * load;
    (served, [0, 1, 2].map(|service: usize| workers[service].share_in_vain()))
}

#[tokio::test(start_paused = true)]
async fn the_services_before_an_overloaded_one_do_not_work_in_vain() {
    const SEEDS: u64 = 4;
    for (load, pause) in [(1.2, 5), (3.0, 5), (10.0, 5), (3.0, 50), (3.0, 200)] {
        let mut in_vain = [0.0; 3];
        for seed in 1..=SEEDS {
            let (served, shares) = served_and_in_vain(load, pause * MS, seed).await;
            println!("{load} times, {pause} ms: served {served:.3}, in vain {shares:.4?}");
            assert!(served >= 0.88, "{load} times, {pause} ms: {served}");
            in_vain.iter_mut().zip(shares).for_each(|(mean, share)| *mean += share / SEEDS as f64);
        }
        // By chance a queue overflows: in 20 s alone up to .015, with three of 48 seeds.
        let is_little = in_vain.iter().all(|&share| share <= 0.01);
        assert!(is_little, "{load} times, {pause} ms: {in_vain:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn critical_requests_pass_a_flood_of_others_at_each_service() {
    let (chain, _) = chain(5 * MS);
    let flood = served(&chain, 3.0 * CAPACITY, Priority::Sheddable);
    let (flood, critical) = tokio::join!(flood, served(&chain, 0.5 * CAPACITY, Priority::Critical));
    println!("critical {critical:.3}, sheddable {flood:.3}");
    assert!(critical >= 0.99, "{critical}, and {flood} of the others");
}
