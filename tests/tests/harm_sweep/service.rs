//! The service behind the layers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

use backpressure_tests::load::Speed;
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance, sleep};

use super::world::{Scarce, Trouble, World};

/// Time after which a failure is late.
const LATE_FAILURE: Duration = Duration::from_secs(3);

/// The content of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) seed: u64,
    pub(crate) polls: bool,
}

/// A bottleneck and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    world: World,
    slots: Arc<Semaphore>,
    in_flight: Arc<AtomicUsize>,
    start: Instant,
    speed: Speed,
}

impl Site {
    pub(crate) fn new(world: World) -> Self {
        let slots = match world.scarce {
            Scarce::Nothing | Scarce::Worker => Semaphore::MAX_PERMITS,
            _ => world.slots,
        };
        Self {
            world,
            slots: Arc::new(Semaphore::new(slots)),
            in_flight: Arc::default(),
            start: Instant::now(),
            speed: Speed::new(&world.slowdowns()),
        }
    }

    pub(crate) async fn handle(
        self,
        request: Request<Job>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (job, world) = (request.into_body(), self.world);
        let mut rng = Rng::with_seed(job.seed);
        let (fails, after) = match world.trouble {
            Trouble::Fails(share) => (rng.f64() < share, Duration::from_millis(1)),
            Trouble::FailsLate(share) => (rng.f64() < share, LATE_FAILURE),
            _ => (false, Duration::ZERO),
        };
        let mut response = Response::new(Full::default());
        if fails {
            sleep(after).await;
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        } else if job.polls {
            sleep(world.poll_time()).await;
        } else if world.goes_on {
            tokio::spawn(self.work(rng)).await.expect("no panic");
        } else {
            self.work(rng).await;
        }
        Ok(response)
    }

    async fn work(self, mut rng: Rng) {
        let _counted = Counted::new(&self.in_flight);
        let work = self.world.service.draw(&mut rng);
        if let Scarce::SlotsAfter(times) = self.world.scarce {
            sleep(work.mul_f64(times)).await;
        }
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        if self.world.scarce == Scarce::Worker {
            return self.compute();
        }
        let mut work = match self.world.scarce {
            Scarce::Thrashing(share) => {
                let beyond = self.in_flight.load(Relaxed).saturating_sub(self.world.slots);
                work.mul_f64(1.0 + share * beyond as f64 / self.world.slots as f64)
            }
            _ => work,
        };
        while !work.is_zero() {
            let (elapsed, left) = self.speed.elapsed_and_left(self.start.elapsed(), work);
            sleep(elapsed).await;
            work = left;
        }
    }

    /// Occupies the only worker thread: the clock advances and no other task is polled meanwhile.
    fn compute(&self) {
        let mut work = self.world.service.mean();
        while !work.is_zero() {
            let (elapsed, left) = self.speed.elapsed_and_left(self.start.elapsed(), work);
            // The first poll advances the clock; the rest of the future would only yield.
            let _ = pin!(advance(elapsed)).poll(&mut Context::from_waker(Waker::noop()));
            work = left;
        }
    }
}

/// Counts a request while it is in the service.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
