//! A virtual service under open-loop load, with the layers that ship, on tokio's paused clock.
//!
//! A [`Load`] is a bottleneck and classes of traffic. [`run`](Load::run) sends the traffic through
//! a layer and returns a [`Report`]: how the requests of each class ended, second by second.
//! Waiting stands for work, because the paused clock does not advance while a thread computes.

mod caller;
mod class;
mod comparison;
mod distribution;
mod handler;
mod limiter;
mod pool;
mod report;
mod speed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Builder;
use tokio::time::{Instant, advance, sleep, sleep_until};
use tower::{Layer, Service};
use tower_backpressure::Snapshot;

use caller::Caller;
use handler::{Failed, Handler, Job};
use report::Recorder;

pub use class::{Class, Content, Failure, Reader};
pub use distribution::Distribution;
pub use limiter::{adaptive, bare, client, fixed, tower_limit};
pub use pool::Pool;
pub use report::{Counts, Report, verify};
pub use speed::{Slowdown, Speed};

const SECOND: Duration = Duration::from_secs(1);

/// A service and the traffic it receives.
#[derive(Clone, Debug)]
pub struct Load {
    label: String,
    seed: u64,
    slots: usize,
    service: Distribution,
    classes: Vec<Class>,
    suspended: Option<(Duration, Duration)>,
    slowdowns: Vec<Slowdown>,
}

impl Load {
    /// A service without a bottleneck and without traffic.
    #[must_use]
    pub fn new(label: impl Into<String>, seed: u64) -> Self {
        let (slots, service) =
            (tokio::sync::Semaphore::MAX_PERMITS, Distribution::Fixed(Duration::ZERO));
        Self {
            label: label.into(),
            seed,
            slots,
            service,
            classes: Vec::new(),
            suspended: None,
            slowdowns: Vec::new(),
        }
    }

    /// Adds a bottleneck behind an await: a request occupies one of `slots` for a time drawn from `service`.
    #[must_use]
    pub fn bottleneck(mut self, slots: usize, service: Distribution) -> Self {
        (self.slots, self.service) = (slots, service);
        self
    }

    /// Adds a class of traffic.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.classes.push(class);
        self
    }

    /// Makes work in the bottleneck take `factor` times as long between two times.
    #[must_use]
    pub fn slower(mut self, factor: f64, from: Duration, until: Duration) -> Self {
        self.slowdowns.push(Slowdown { from, until, repeats: None, factor });
        self
    }

    /// Makes work in the bottleneck take `factor` times as long for `length` every `period`; with an
    /// infinite factor, nothing is done meanwhile.
    #[must_use]
    pub fn slower_every(mut self, period: Duration, length: Duration, factor: f64) -> Self {
        let (from, until) = (period - length, Duration::from_secs(1 << 20));
        self.slowdowns.push(Slowdown { from, until, repeats: Some((period, length)), factor });
        self
    }

    /// Suspends the process at the time `at` for `length`: its clock jumps.
    #[must_use]
    pub fn suspended(mut self, at: Duration, length: Duration) -> Self {
        self.suspended = Some((at, length));
        self
    }

    /// Sends the traffic of `length` through a layer; `limiter` makes it, on the run's own runtime,
    /// and a function that takes its snapshot.
    ///
    /// # Panics
    /// When a request panics.
    pub fn run<L, P>(self, length: Duration, limiter: impl FnOnce() -> (L, P)) -> Report
    where
        L: Layer<Handler>,
        L::Service: Client,
        P: Fn() -> Option<Snapshot> + Send + 'static,
    {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        // Dropping the runtime drops all requests that are still running.
        runtime.block_on(async {
            let (layer, snapshot) = limiter();
            let classes: Arc<[Class]> = self.classes.into();
            let names = classes.iter().map(|class| class.name).collect();
            let recorder = Recorder::new(names, Instant::now());
            let speed = Speed::new(&self.slowdowns);
            let handler = Handler::new(Arc::clone(&classes), self.slots, self.service, speed);
            let service = layer.layer(handler);
            for index in 0..classes.len() {
                let caller = Caller {
                    service: service.clone(),
                    classes: Arc::clone(&classes),
                    index,
                    recorder: recorder.clone(),
                };
                let rng = Rng::with_seed(self.seed.wrapping_mul(64).wrapping_add(index as u64));
                tokio::spawn(caller.send_all(rng, length));
            }
            if let Some((at, length)) = self.suspended {
                tokio::spawn(async move {
                    sleep(at).await;
                    advance(length).await;
                });
            }
            // The latest response that is still of use arrives this long after the last request.
            let settle = classes.iter().map(|class| class.late_after).max().unwrap_or_default();
            let end = Instant::now() + length + settle;
            while Instant::now() < end {
                sleep_until(Instant::now() + SECOND).await;
                recorder.record_snapshot(snapshot());
            }
            recorder.report(self.label, self.seed)
        })
    }
}

/// A service that callers in separate tasks can share.
pub trait Client:
    Service<
        Request<Job>,
        Response = Response<Self::ResponseBody>,
        Error = Failed,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data = Bytes, Error: Send> + Send + 'static;
}

impl<S, B> Client for S
where
    S: Service<Request<Job>, Response = Response<B>, Error = Failed, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Send> + Send + 'static,
{
    type ResponseBody = B;
}
