//! Callers that leave before their response, in front of a pool whose size the adaptive limit has to find, on the
//! paused clock.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::Full;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::AdmissionLayer;

const SECOND: Duration = Duration::from_secs(1);
/// How long a run takes. What is served is counted in its second half.
const RUN: Duration = Duration::from_secs(40);

/// A pool, and callers that wait for so long.
#[derive(Clone, Copy, Debug)]
struct Pool {
    slots: usize,
    time: Duration,
    patience: Duration,
    /// Whether what was begun for a caller is finished after it has left, as a query of a database is.
    goes_on: bool,
    /// From when to when nothing in the pool comes to an end.
    hangs: Option<(Duration, Duration)>,
}

/// What became of the requests of the second half.
#[derive(Clone, Copy, Debug)]
struct Ends {
    offered: usize,
    served: usize,
    rejected: usize,
}

impl Pool {
    fn new(slots: usize, time: u64, patience: u64, goes_on: bool) -> Self {
        let [time, patience] = [time, patience].map(Duration::from_millis);
        Self { slots, time, patience, goes_on, hangs: None }
    }

    /// What it can serve in the second half.
    fn possible(self) -> f64 {
        (RUN / 2).as_secs_f64() * self.slots as f64 / self.time.as_secs_f64()
    }

    /// Serves so many times as many requests as it can, at random times, behind an adaptive limit.
    fn run(self, load: f64) -> Ends {
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(self.offer(load))
    }

    async fn offer(self, load: f64) -> Ends {
        let begun = Instant::now();
        let service = self.service(begun);
        let counts: Arc<[AtomicUsize; 2]> = Arc::default();
        let (mut rng, mut next, mut offered) = (Rng::with_seed(7), begun, 0);
        let gap = self.time.div_f64(self.slots as f64 * load);
        while next < begun + RUN {
            sleep_until(next).await;
            let call = timeout(self.patience, service.clone().oneshot(Request::new(())));
            let (counts, counted) = (Arc::clone(&counts), next >= begun + RUN / 2);
            offered += usize::from(counted);
            tokio::spawn(async move {
                if let (Ok(Ok(status)), true) = (call.await, counted) {
                    counts[usize::from(status != 200)].fetch_add(1, Relaxed);
                }
            });
            next += gap.mul_f64(-(1.0 - rng.f64()).ln());
        }
        sleep(self.patience).await;
        let [served, rejected] = [0, 1].map(|count: usize| counts[count].load(Relaxed));
        Ends { offered, served, rejected }
    }

    fn service(self, begun: Instant) -> BoxCloneSyncService<Request<()>, u16, Infallible> {
        let free = Arc::new(Semaphore::new(self.slots));
        let handler = service_fn(move |_: Request<()>| {
            let free = Arc::clone(&free);
            async move {
                let work = async move {
                    let _slot = free.acquire().await.expect("never closed");
                    let now = begun.elapsed();
                    let hang = self.hangs.filter(|(from, to)| (*from..*to).contains(&now));
                    if let Some((_, end)) = hang {
                        sleep_until(begun + end).await;
                    }
                    sleep(self.time).await;
                };
                if self.goes_on {
                    tokio::spawn(work).await.expect("no panic");
                } else {
                    work.await;
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            }
        });
        let admission = ServiceBuilder::new().layer(AdmissionLayer::adaptive("api"));
        BoxCloneSyncService::new(
            admission.service(handler).map_response(|response| response.status().as_u16()),
        )
    }
}

/// Pools whose callers wait for five or ten service times.
fn pools() -> impl Iterator<Item = Pool> {
    [(4, 200, 2_000), (16, 100, 500), (50, 20, 100)].into_iter().flat_map(|(slots, time, wait)| {
        [false, true].map(|goes_on| Pool::new(slots, time, wait, goes_on))
    })
}

#[test]
fn a_pool_whose_callers_leave_in_time_is_used_fully_however_many_there_are() {
    for pool in pools().chain([Pool::new(1, 100, 1_000, false)]) {
        for load in [1.2, 2.0, 10.0] {
            if pool.slots == 1 && load < 2.0 || load * pool.possible() > 120_000.0 {
                continue;
            }
            let ends = pool.run(load);
            let share = ends.served as f64 / pool.possible();
            assert!(share >= 0.95, "{share:.3} at {load} × {pool:?}: {ends:?}");
        }
    }
}

#[test]
fn callers_that_could_leave_and_need_not_are_all_served() {
    for pool in pools() {
        let ends = pool.run(0.5);
        assert_eq!((ends.served, ends.rejected), (ends.offered, 0), "{pool:?}: {ends:?}");
    }
}

/// While it hangs all callers leave, whatever the limit.
#[test]
fn a_pool_that_hung_is_used_again_within_seconds() {
    for pool in pools().filter(|pool| !pool.goes_on) {
        let pool = Pool { hangs: Some((5 * SECOND, RUN / 2)), ..pool };
        for load in [0.5, 0.9] {
            let ends = pool.run(load);
            let share = ends.served as f64 / ends.offered as f64;
            assert!(share >= 0.8, "{share:.3} at {load} × {pool:?}: {ends:?}");
        }
    }
}

#[test]
#[ignore = "known miss: .00 to .81 of the possible where callers wait for one and a half service times and work goes on \
            after they have left"]
fn a_pool_whose_callers_leave_soon_is_used_fully() {
    for (slots, time, wait) in [(4, 200, 300), (8, 40, 60), (200, 200, 300)] {
        for goes_on in [false, true] {
            let pool = Pool::new(slots, time, wait, goes_on);
            let ends = pool.run(2.0);
            let share = ends.served as f64 / pool.possible();
            println!("{share:.3} {pool:?}: {ends:?}");
            assert!(share >= 0.9, "{share:.3} {pool:?}: {ends:?}");
        }
    }
}
