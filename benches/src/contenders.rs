//! The layers that are measured: ours, tower's, and lower bounds.

use std::fmt;
use std::future::ready;
use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tower::limit::{ConcurrencyLimit, ConcurrencyLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_backpressure::observe::Registry;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds};

use crate::drive;
use crate::floor::{BodyFloor, Floor};
use crate::served::Served;

/// Sends a number of requests through a service, and returns the time they took.
pub type Session = Box<dyn FnMut(u32) -> Duration + Send>;

/// A layer around the measured service.
pub struct Contender {
    /// The name in tables and on the command line.
    pub name: &'static str,
    /// One session for each thread; all of them share one limit.
    pub sessions: Vec<Session>,
}

/// The largest number of threads that a contender is measured with.
pub const MAX_THREADS: usize = 2;

/// The contender without a layer, whose time is subtracted from that of the others.
pub const BARE: &str = "bare";
/// The contender that the others are compared with when they admit.
pub const TOWER: &str = "tower-concurrency-limit";

/// Far more requests than are in flight, so that the limit is never reached.
const AMPLE_LIMIT: usize = 1_000;

/// Contenders that admit every request.
pub fn admitting() -> Vec<Contender> {
    vec![
        Contender::new(BARE, Served),
        Contender::new("floor", Floor::new(Served)),
        Contender::new("floor-to-body-end", BodyFloor(Floor::new(Served))),
        Contender::new(TOWER, ConcurrencyLimit::new(Served, AMPLE_LIMIT)),
        Contender::new("tower-load-shed", load_shed(AMPLE_LIMIT)),
        Contender::new("fixed", AdmissionLayer::fixed("fixed", AMPLE_LIMIT).layer(Served)),
        Contender::new("bulkhead", BulkheadLayer::new("bulkhead", AMPLE_LIMIT).layer(Served)),
        Contender::new("adaptive", AdmissionLayer::adaptive("adaptive").layer(Served)),
        watched("fixed-watched", AdmissionLayer::fixed("fixed-watched", AMPLE_LIMIT)),
        watched("adaptive-watched", AdmissionLayer::adaptive("adaptive-watched")),
        metered(),
    ]
}

/// Contenders that reject every request.
pub fn rejecting() -> Vec<Contender> {
    let mut tower = load_shed(1);
    // This clone takes the only permit and keeps it, so that the clones below find none.
    let acquired = tower.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(acquired.is_ready(), "the first permit is free");
    vec![
        Contender::new(BARE, service_fn(|_| ready(Err::<ServedResponse, _>(())))),
        Contender::keeping(TOWER_SHED, tower.clone(), tower),
        full("fixed", AdmissionLayer::fixed("fixed", 1)),
        full("adaptive", AdmissionLayer::adaptive("adaptive")),
    ]
}

/// The contender that the others are compared with when they reject.
pub const TOWER_SHED: &str = "tower-load-shed";

impl Contender {
    /// A contender whose sessions use clones of one service.
    pub fn new<S, B>(name: &'static str, service: S) -> Self
    where
        S: Service<Request<()>, Response = Response<B>> + Clone + Send + 'static,
        B: Body,
    {
        Self::keeping(name, service, ())
    }

    /// A contender whose sessions use clones of one service and keep a value alive.
    fn keeping<S, B, K>(name: &'static str, service: S, kept: K) -> Self
    where
        S: Service<Request<()>, Response = Response<B>> + Clone + Send + 'static,
        B: Body,
        K: Send + 'static,
    {
        let session =
            |mut service: S| -> Session { Box::new(move |count| drive::time(&mut service, count)) };
        let mut sessions: Vec<_> = (1..MAX_THREADS).map(|_| session(service.clone())).collect();
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

/// A layer that a dashboard looks at while its session runs, and at no other time.
///
/// A dashboard asks for reports once a second, by which a layer chooses how many requests are timed. Here it asks after
/// each turn, of which one in several is the layer's own: more requests are timed than under a dashboard.
fn watched(name: &'static str, layer: AdmissionLayer) -> Contender {
    let contender = Contender::new(name, layer.layer(Served));
    let watch = |mut session: Session| -> Session {
        Box::new(move |count| {
            let _watch = Registry::global().watch();
            let spent = session(count);
            drop(Registry::global().reports());
            spent
        })
    };
    Contender { name, sessions: contender.sessions.into_iter().map(watch).collect() }
}

/// The adaptive layer with every request metered.
///
/// A layer meters each of its first 256 requests, and fewer from then on at the rate of a benchmark.
/// Therefore a new layer is made after as many, outside the measured time. The first requests of a layer
/// yield, and are not timed either.
fn metered() -> Contender {
    const WARM_UP_REQUESTS: u32 = 96;
    const TIMED_REQUESTS: u32 = 256 - WARM_UP_REQUESTS;
    let session = || -> Session {
        Box::new(|count| {
            let mut spent = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let mut service = AdmissionLayer::adaptive("metered").layer(Served);
                drive::time(&mut service, WARM_UP_REQUESTS);
                let timed = left.min(TIMED_REQUESTS);
                spent += drive::time(&mut service, timed);
                left -= timed;
            }
            spent
        })
    };
    Contender { name: "adaptive-all-metered", sessions: vec![session(), session()] }
}

/// A layer without a queue whose permits are all in use.
fn full(name: &'static str, layer: AdmissionLayer) -> Contender {
    let layer = layer.queue(QueueBounds::NONE);
    let permits: Vec<_> = std::iter::from_fn(|| layer.limiter().try_acquire().ok()).collect();
    Contender::keeping(name, layer.layer(Served), permits)
}
