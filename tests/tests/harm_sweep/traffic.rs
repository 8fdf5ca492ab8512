//! The clients of a world, and what became of their requests.

use std::convert::Infallible;
use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::runtime::Builder;
use tokio::time::{Instant, advance, sleep, sleep_until, timeout};
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Rejected};

use super::service::{Job, Site};
use super::world::{Arrivals, Retries, Stack, Trouble, World};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// How long a user pauses after a call that ended in a rejection.
const PAUSE_AFTER_REJECTION: Duration = SECOND;
/// A bulkhead of this size has room for everything.
const ROOMY: usize = 50_000;

type Handler = BoxCloneSyncService<Request<Job>, Response<Full<Bytes>>, Infallible>;
type Service = BoxCloneSyncService<Request<Job>, Answer, Infallible>;

/// What stands before the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    TowerLimit,
    Ours,
}

/// A response as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Served,
    Failed,
    Rejected(Duration),
}

/// How requests of one second ended, by the second in which they ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) offered: usize,
    pub(crate) served: usize,
    pub(crate) rejected: usize,
    pub(crate) late: usize,
    pub(crate) left: usize,
    pub(crate) limit: usize,
}

#[derive(Clone)]
struct Clients {
    world: World,
    service: Service,
    start: Instant,
    seconds: Arc<Mutex<Vec<Ends>>>,
}

/// The service behind what stands before it, and the limit that it finds.
fn stack(world: World, before: Before) -> (Service, Box<dyn Fn() -> usize + Send>) {
    let site = Site::new(world);
    let handler = Handler::new(service_fn(move |request| site.clone().handle(request)));
    let layer = AdmissionLayer::adaptive("api");
    let admission = layer.clone().layer(handler.clone());
    let service = match (before, world.stack) {
        (Before::Nothing, _) => Service::new(handler.map_response(|it| answer(&it))),
        (Before::TowerLimit, _) => {
            let limited = LoadShed::new(ConcurrencyLimit::new(handler, world.tuned()));
            Service::new(service_fn(move |request| {
                let call = limited.clone().oneshot(request);
                // A rejection of tower says nothing of when to come back.
                async move {
                    Ok(call.await.map_or(Answer::Rejected(SECOND), |response| answer(&response)))
                }
            }))
        }
        (Before::Ours, Stack::Alone) => Service::new(admission.map_response(|it| answer(&it))),
        (Before::Ours, Stack::Nested) => {
            let outer = AdmissionLayer::adaptive("outer").layer(admission);
            Service::new(outer.map_response(|it| answer(&it)))
        }
        (Before::Ours, Stack::InBulkhead) => {
            let outer = BulkheadLayer::new("all", ROOMY).layer(admission);
            Service::new(outer.map_response(|it| answer(&it)))
        }
    };
    (service, Box::new(move || layer.snapshot().limit))
}

fn answer<B>(response: &Response<B>) -> Answer {
    if Rejected::of(response).is_some() {
        let told = response.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
        let told = told.and_then(|it| it.parse().ok()).map_or(SECOND, Duration::from_secs);
        return Answer::Rejected(told);
    }
    if response.status() == StatusCode::OK { Answer::Served } else { Answer::Failed }
}

/// What became of the requests of a run.
pub(crate) fn run(world: World, before: Before) -> Vec<Ends> {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    // Dropping the runtime drops all requests that are still running.
    runtime.block_on(async {
        let (service, limit) = stack(world, before);
        let clients = Clients { world, service, start: Instant::now(), seconds: Arc::default() };
        tokio::spawn(clients.clone().arrive());
        if let Trouble::Suspended(seconds) = world.trouble {
            tokio::spawn(async move {
                sleep(world.length() / 2).await;
                advance(Duration::from_secs_f64(seconds)).await;
            });
        }
        let end = clients.start + world.length() + world.late_after();
        while Instant::now() < end {
            sleep(SECOND).await;
            let limit = limit();
            clients.count(|ends| ends.limit = limit);
        }
        let seconds = clients.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.clone()
    })
}

impl Clients {
    async fn arrive(self) {
        let mut rng = Rng::with_seed(self.world.seed);
        if let Arrivals::Users(thinks) = self.world.arrivals {
            for _ in 0..self.world.users(thinks) {
                tokio::spawn(self.clone().use_again_and_again(thinks, rng.fork()));
            }
            return;
        }
        let (end, mut due) = (self.world.length(), Duration::ZERO);
        loop {
            let (gap, count) = self.next(due, &mut rng);
            due += gap;
            if due >= end {
                return;
            }
            // Tokio's timers have whole milliseconds.
            if due >= self.start.elapsed() + MILLI {
                sleep_until(self.start + due).await;
            }
            for _ in 0..count {
                let (clients, rng) = (self.clone(), rng.fork());
                tokio::spawn(async move { clients.call(rng).await });
            }
        }
    }

    /// Time until the next requests arrive, and how many.
    fn next(&self, at: Duration, rng: &mut Rng) -> (Duration, usize) {
        let (mean, length) = (self.world.rate(), self.world.length().as_secs_f64());
        let at = at.as_secs_f64();
        let rate = match self.world.arrivals {
            Arrivals::Waves(period) => mean * (1.0 - (TAU * at / period).cos()),
            Arrivals::Ramp => 2.0 * mean * at / length,
            Arrivals::Step if at < length / 2.0 => mean / 20.0,
            _ => mean,
        };
        // A rate that is about to rise is looked at again within a tenth of a second.
        let rate = rate.max(mean / 50.0);
        let gap = match self.world.arrivals {
            Arrivals::Clock => 1.0 / rate,
            Arrivals::Bursts(period) => {
                return (Duration::from_secs_f64(period), (mean * period).ceil() as usize);
            }
            _ => -(1.0 - rng.f64()).ln() / rate,
        };
        (Duration::from_secs_f64(gap), 1)
    }

    async fn use_again_and_again(self, thinks: f64, mut rng: Rng) {
        let thinks = self.world.latency().mul_f64(thinks);
        while self.start.elapsed() < self.world.length() {
            sleep(thinks.mul_f64(2.0 * rng.f64())).await;
            if let Some(Answer::Rejected(_)) = self.call(rng.fork()).await {
                sleep(PAUSE_AFTER_REJECTION).await;
            }
        }
    }

    /// A request and its retries. `None`: its caller left.
    async fn call(&self, mut rng: Rng) -> Option<Answer> {
        let world = self.world;
        let (cancels, polls) = (rng.f64() < world.cancelling, rng.f64() < world.polling);
        if cancels {
            let call = self.service.clone().oneshot(Request::new(Job { seed: rng.u64(..), polls }));
            let _ = timeout(world.latency() / 5, call).await;
            return None;
        }
        let mut sent = Instant::now();
        self.count(|ends| ends.offered += 1);
        let mut answer = self.attempt(rng.u64(..), polls).await;
        for attempt in 0..4_u32 {
            let wait = match (answer, world.retries) {
                (None | Some(Answer::Served), _) | (_, Retries::None) => break,
                (_, Retries::AtOnce | Retries::Obedient) if attempt == 3 => break,
                (_, Retries::AtOnce) => Duration::ZERO,
                (_, Retries::Backoff) => 100 * MILLI * 2_u32.pow(attempt),
                (Some(Answer::Rejected(told)), Retries::Obedient) => {
                    told + SECOND.mul_f64(rng.f64())
                }
                (Some(Answer::Failed), Retries::Obedient) => SECOND.mul_f64(rng.f64()),
            };
            sleep(wait).await;
            sent = Instant::now();
            answer = self.attempt(rng.u64(..), polls).await;
        }
        let is_late = sent.elapsed()
            > world.late_after() + if polls { world.poll_time() } else { Duration::ZERO };
        self.count(|ends| match answer {
            None => ends.left += 1,
            Some(Answer::Served) if is_late => ends.late += 1,
            Some(Answer::Served) => ends.served += 1,
            Some(Answer::Rejected(_)) => ends.rejected += 1,
            Some(Answer::Failed) => {}
        });
        answer
    }

    async fn attempt(&self, seed: u64, polls: bool) -> Option<Answer> {
        let call = self.service.clone().oneshot(Request::new(Job { seed, polls }));
        let answer = match self.world.leaves_after().filter(|_| !polls) {
            Some(patience) => timeout(patience, call).await.ok()?,
            None => call.await,
        };
        Some(answer.expect("infallible"))
    }

    fn count(&self, change: impl FnOnce(&mut Ends)) {
        let second = usize::try_from(self.start.elapsed().as_secs()).expect("a short run");
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds.len() <= second {
            seconds.resize(second + 1, Ends::default());
        }
        change(&mut seconds[second]);
    }
}
