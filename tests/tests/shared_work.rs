//! Handlers that do the work of many requests at once, so that requests wait for each other while nothing is scarce:
//! a cache that one request refreshes for all, a commit for all of a second, a model that computes in batches.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::AdmissionLayer;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(40);
/// From then on requests are counted.
const KNOWN: Duration = Duration::from_secs(10);

/// Sends so many requests a second at random times; the share of them that is served.
async fn served<F>(rate: f64, handler: impl Fn() -> F + Clone + Send + Sync + 'static) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let service = AdmissionLayer::adaptive("api").layer(service_fn(move |_: Request<()>| {
        let work = handler();
        async move {
            work.await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    let (mut rng, start) = (Rng::with_seed(3), Instant::now());
    let (mut at, mut counted) = (start, JoinSet::new());
    while at < start + RUN {
        at += SECOND.mul_f64(-(1.0 - rng.f64()).ln() / rate);
        sleep_until(at).await;
        let response = service.clone().oneshot(Request::new(()));
        let is_served = async move { response.await.expect("infallible").status() == 200 };
        if at < start + KNOWN {
            tokio::spawn(is_served);
        } else {
            counted.spawn(is_served);
        }
    }
    let all = counted.join_all().await;
    all.iter().filter(|&&served| served).count() as f64 / all.len() as f64
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_the_refresh_of_a_cache_are_all_served() {
    for (period, refresh) in [(SECOND, 300 * MILLI), (5 * SECOND, 2 * SECOND)] {
        let refreshed = Arc::new(Mutex::new(None::<Instant>));
        let share = served(300.0, move || {
            let refreshed = Arc::clone(&refreshed);
            async move {
                sleep(MILLI).await;
                let mut at = refreshed.lock().await;
                if at.is_none_or(|at| at.elapsed() > period) {
                    sleep(refresh).await;
                    *at = Some(Instant::now());
                }
            }
        });
        assert!(share.await >= 1.0, "each {period:?} for {refresh:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_committed_together_are_all_served() {
    for period in [50 * MILLI, SECOND, 3 * SECOND] {
        let start = Instant::now();
        let share = served(300.0, move || async move {
            let periods = start.elapsed().as_nanos() / period.as_nanos() + 1;
            sleep_until(start + period * u32::try_from(periods).expect("a short run")).await;
        });
        assert!(share.await >= 1.0, "each {period:?}");
    }
}

/// Computes what is waiting, at most this many at once, in a time that does not depend on how many these are.
fn batches(size: usize, time: Duration) -> mpsc::UnboundedSender<oneshot::Sender<()>> {
    let (sender, mut waiting) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut batch: Vec<oneshot::Sender<()>> = Vec::new();
        while waiting.recv_many(&mut batch, size).await > 0 {
            sleep(time).await;
            // A caller may have left.
            batch.drain(..).for_each(|done| _ = done.send(()));
        }
    });
    sender
}

#[tokio::test(start_paused = true)]
async fn a_model_that_computes_in_batches_gets_whole_batches() {
    const SIZE: usize = 32;
    let capacity = SIZE as f64 / 0.1;
    for (load, least) in [(0.3, 1.0), (0.9, 1.0), (2.0, 0.9)] {
        let model = batches(SIZE, 100 * MILLI);
        let share = served(load * capacity, move || {
            let (sender, done) = oneshot::channel();
            let sent = model.send(sender);
            async move {
                sent.expect("the model runs");
                done.await.expect("the model answers");
            }
        });
        let possible = share.await * f64::max(load, 1.0);
        assert!(possible >= least, "{load}×: {possible:.3} of what is possible");
    }
}
