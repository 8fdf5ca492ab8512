//! The services and layers that are measured.

use std::fmt;
use std::future::ready;
use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tower::limit::{ConcurrencyLimit, ConcurrencyLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds};

use crate::drive;
use crate::floor::{BodyFloor, Floor};
use crate::served::Served;

/// Takes so many requests through and says how long it took.
pub type Session = Box<dyn FnMut(u32) -> Duration + Send>;

/// One way to stand before a service.
pub struct Contender {
    /// As it is called in tables and on the command line.
    pub name: &'static str,
    /// One for each thread; all of them go through one limit.
    pub sessions: Vec<Session>,
}

/// The most threads a contender is measured with.
pub const THREADS: usize = 2;

/// The name of the contender that the others are subtracted from.
pub const BARE: &str = "bare";
/// The name of the contender that the bars refer to.
pub const TOWER: &str = "tower-concurrency-limit";

/// Far more than are in flight.
const LIMIT: usize = 1_000;

/// Those that admit every request.
pub fn admitting() -> Vec<Contender> {
    vec![
        Contender::new(BARE, Served),
        Contender::new("floor", Floor::new(Served)),
        Contender::new("floor-to-body-end", BodyFloor(Floor::new(Served))),
        Contender::new(TOWER, ConcurrencyLimit::new(Served, LIMIT)),
        Contender::new("tower-load-shed", load_shed(LIMIT)),
        Contender::new("fixed", AdmissionLayer::fixed("fixed", LIMIT).layer(Served)),
        Contender::new("bulkhead", BulkheadLayer::new("bulkhead", LIMIT).layer(Served)),
        Contender::new("adaptive", AdmissionLayer::adaptive("adaptive").layer(Served)),
        metered(),
    ]
}

/// Those that reject every request.
pub fn refusing() -> Vec<Contender> {
    let mut tower = load_shed(1);
    // Takes the only permit and keeps it: the clones below find none.
    let taken = tower.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(taken.is_ready(), "the first one is let in");
    vec![
        Contender::new(BARE, service_fn(|_| ready(Err::<ServedResponse, _>(())))),
        Contender::keeping(TOWER_SHED, tower.clone(), tower),
        full("fixed", AdmissionLayer::fixed("fixed", 1)),
        full("adaptive", AdmissionLayer::adaptive("adaptive")),
    ]
}

/// The name of tower's refusal.
pub const TOWER_SHED: &str = "tower-load-shed";

impl Contender {
    /// Clones of one service.
    pub fn new<S, B>(name: &'static str, service: S) -> Self
    where
        S: Service<Request<()>, Response = Response<B>> + Clone + Send + 'static,
        B: Body,
    {
        Self::keeping(name, service, ())
    }

    /// Clones of one service, and something that lives as long as they do.
    fn keeping<S, B, K>(name: &'static str, service: S, kept: K) -> Self
    where
        S: Service<Request<()>, Response = Response<B>> + Clone + Send + 'static,
        B: Body,
        K: Send + 'static,
    {
        let session =
            |mut service: S| -> Session { Box::new(move |count| drive::time(&mut service, count)) };
        let mut sessions: Vec<_> = (1..THREADS).map(|_| session(service.clone())).collect();
        let mut service = service;
        sessions.push(Box::new(move |count| {
            let _ = &kept;
            drive::time(&mut service, count)
        }));
        Self { name, sessions }
    }
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}

fn load_shed(
    limit: usize,
) -> impl Service<Request<()>, Response = ServedResponse, Future: Send> + Clone {
    ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(limit))
        .service(Served)
}

type ServedResponse = <Served as Service<Request<()>>>::Response;

/// The adaptive layer with every request measured.
///
/// It measures its first 256 requests one by one, and fewer from then on at the rate of a
/// benchmark. So a new layer is made as often as that, outside the time; the first requests of
/// each still yield and are not timed either.
fn metered() -> Contender {
    const WARM_UP: u32 = 96;
    const MEASURED: u32 = 256 - WARM_UP;
    let session = || -> Session {
        Box::new(|count| {
            let mut spent = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let mut service = AdmissionLayer::adaptive("metered").layer(Served);
                drive::time(&mut service, WARM_UP);
                let now = left.min(MEASURED);
                spent += drive::time(&mut service, now);
                left -= now;
            }
            spent
        })
    };
    Contender { name: "adaptive-all-metered", sessions: vec![session(), session()] }
}

/// A layer with every place taken and no queue.
fn full(name: &'static str, layer: AdmissionLayer) -> Contender {
    let layer = layer.queue(QueueBounds::NONE);
    let taken: Vec<_> = std::iter::from_fn(|| layer.gate().try_enter().ok()).collect();
    Contender::keeping(name, layer.layer(Served), taken)
}
