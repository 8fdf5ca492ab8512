//! A service of slots behind a layer, and the clients that it tells when to come back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, RETURN_TICKET};

use super::score::{Told, Trace};

type EmptyRequest = Request<Full<Bytes>>;
type Service = BoxCloneSyncService<EmptyRequest, Response<()>, Infallible>;

/// Slots behind an await, each occupied by a request for a time with this mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) slots: usize,
    pub(crate) mean: Duration,
}

impl Slots {
    pub(crate) fn per_second(self) -> f64 {
        self.slots as f64 / self.mean.as_secs_f64()
    }

    /// Half to one and a half times the mean, in whole milliseconds as tokio's timers.
    fn draw(self, rng: &mut Rng) -> Duration {
        let millis = self.mean.as_millis() as f64 * (0.5 + rng.f64());
        Duration::from_millis((millis + rng.f64()) as u64)
    }
}

/// The service, and what is recorded about it.
#[derive(Clone)]
pub(crate) struct Site {
    service: Service,
    start: Instant,
    trace: Arc<Mutex<Trace>>,
}

/// How a client answers to a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Comes back when told, up to a second late, with its ticket, as `RetryLayer` does.
    Obeys,
    /// Comes back when told, to the millisecond and without a ticket.
    ObeysBarely,
    /// Sends another request after this time.
    Ignores(Duration),
    /// Sends no other request.
    GivesUp,
}

/// Most attempts of a client that obeys.
const MAX_ATTEMPTS: usize = 4;

impl Site {
    pub(crate) fn new(layer: &AdmissionLayer, slots: Slots) -> Self {
        let free = Arc::new(Semaphore::new(slots.slots));
        let rng = Arc::new(Mutex::new(Rng::with_seed(5)));
        let trace = Arc::<Mutex<Trace>>::default();
        let recorded = Arc::clone(&trace);
        let handler = service_fn(move |_: EmptyRequest| {
            let (free, rng, trace) = (Arc::clone(&free), Arc::clone(&rng), Arc::clone(&recorded));
            async move {
                let _slot = free.acquire().await.expect("the semaphore is never closed");
                let time = slots.draw(&mut rng.lock().unwrap_or_else(PoisonError::into_inner));
                let started = Instant::now();
                sleep(time).await;
                let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
                trace.in_slots += started.elapsed();
                trace.slot_uses += 1;
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        });
        let service = layer.layer(handler).map_response(|response| response.map(drop));
        Self { service: BoxCloneSyncService::new(service), start: Instant::now(), trace }
    }

    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::take(&mut *self.trace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, record: impl FnOnce(&mut Trace)) {
        record(&mut self.trace.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn send(&self, ticket: Option<HeaderValue>) -> Response<()> {
        let mut request = EmptyRequest::default();
        if let Some(ticket) = ticket {
            request.headers_mut().insert(RETURN_TICKET, ticket);
        }
        self.service.clone().oneshot(request).await.expect("infallible")
    }

    /// One request of a client, and its returns.
    pub(crate) async fn call(self, manners: Manners, mut rng: Rng) {
        let mut ticket = None;
        for attempt in 0..MAX_ATTEMPTS {
            let response = self.send(ticket.take()).await;
            let admitted = response.status() == StatusCode::OK;
            match attempt {
                0 if admitted => self.record(|trace| trace.new_served.push(self.start.elapsed())),
                0 => {}
                _ => self.record(|trace| trace.returns.push(admitted)),
            }
            let late = match manners {
                _ if admitted => return,
                Manners::Obeys => Duration::from_secs_f64(rng.f64()),
                Manners::ObeysBarely => Duration::ZERO,
                Manners::Ignores(_) | Manners::GivesUp => return,
            };
            let text = response.headers()["retry-after"].to_str().expect("text");
            let wait = Duration::from_secs(text.parse().expect("a number"));
            self.record(|trace| trace.told.push(Told { at: self.start.elapsed(), wait }));
            if manners == Manners::Obeys {
                ticket = response.headers().get(RETURN_TICKET).cloned();
            }
            sleep(wait + late).await;
        }
    }

    /// Requests at random times from `from` to `until`, `rate` a second on average.
    pub(crate) async fn at_random(
        self,
        manners: Manners,
        rate: f64,
        from: f64,
        until: f64,
        seed: u64,
    ) {
        let (mut rng, mut calls) = (Rng::with_seed(seed), JoinSet::new());
        let mut at = from;
        loop {
            at -= (1.0 - rng.f64()).ln() / rate;
            if at > until {
                break;
            }
            sleep_until(self.start + Duration::from_secs_f64(at)).await;
            calls.spawn(self.clone().call(manners, rng.fork()));
        }
        calls.join_all().await;
    }

    /// `count` requests at one moment.
    pub(crate) async fn at_once(self, manners: Manners, count: usize, at: f64, seed: u64) {
        let (mut rng, mut calls) = (Rng::with_seed(seed), JoinSet::new());
        sleep_until(self.start + Duration::from_secs_f64(at)).await;
        for _ in 0..count {
            calls.spawn(self.clone().call(manners, rng.fork()));
        }
        calls.join_all().await;
    }

    /// `count` clients that send the next request when the last one has ended.
    pub(crate) async fn in_loops(
        self,
        manners: Manners,
        count: usize,
        from: f64,
        until: f64,
        seed: u64,
    ) {
        let (mut rng, mut calls) = (Rng::with_seed(seed), JoinSet::new());
        sleep_until(self.start + Duration::from_secs_f64(from)).await;
        for _ in 0..count {
            let (site, mut rng) = (self.clone(), rng.fork());
            calls.spawn(async move {
                while site.start.elapsed().as_secs_f64() < until {
                    site.clone().call(manners, rng.fork()).await;
                    let pause = match manners {
                        Manners::Ignores(pause) => pause,
                        _ => Duration::from_millis(1),
                    };
                    sleep(pause).await;
                }
            });
        }
        calls.join_all().await;
    }
}
