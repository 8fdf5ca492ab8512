//! The handle of a layer: what an operator sees and does while the layer runs.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use backpressure_core::limit::MAX;
use tokio::time::sleep;

use super::readiness::Readiness;
use crate::admission::switches::Switches;
use crate::limiter::{DRAINED_INTERVAL, Limiter, Pressure, Snapshot};
use crate::observe::{Kind, LimiterReport, Part, Registry, Report, Telemetry};

/// Observes and operates one layer, from anywhere in the process: an admin route, a signal handler, a probe.
///
/// A layer has one, and clones are the same handle. [`Handle::named`] finds it by the name of its policy.
///
/// ```
/// use tower_backpressure::server::Handle;
/// use tower_backpressure::AdmissionLayer;
///
/// let layer = AdmissionLayer::adaptive("api-of-this-example").max(2_000);
/// let handle = Handle::named("api-of-this-example").expect("the layer exists");
/// handle.pin(64);
/// assert_eq!(layer.snapshot().limit, 64);
/// handle.unpin();
/// ```
///
/// | operation | new requests | requests in the queue | ends with |
/// |---|---|---|---|
/// | [`pause`](Self::pause) | queue | stay there | the given time, or [`resume`](Self::resume) |
/// | [`drain`](Self::drain) | are rejected, and HTTP/1 connections closed | are served | `resume` |
/// | [`stop`](Self::stop) | are rejected, and HTTP/1 connections closed | are rejected | `resume` |
///
/// What is in flight is never interrupted, and exempt requests are served in any case. All of it also holds in
/// a dry run: a dry run leaves measurements without effect, and not an operator. Where a layer has a compartment for
/// each key, all compartments are operated, those of later keys included.
#[derive(Clone, Debug)]
pub struct Handle {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    id: u64,
    kind: Kind,
    telemetry: Telemetry,
    limiter: Limiter,
    switches: Switches,
    /// What has limiters of its own instead, where there is one for each key.
    keyed: OnceLock<Weak<dyn Keyed>>,
    /// The bounds of the limit before it was pinned.
    unpinned: Mutex<Option<(usize, usize)>>,
}

/// Compartments with a limiter each, as the registry sees them.
pub(super) trait Keyed: std::fmt::Debug + Send + Sync {
    /// Adds the compartments to a report.
    fn fill(&self, report: &mut Report);

    /// The limiters of all of them.
    fn limiters(&self) -> Vec<Limiter>;
}

impl Handle {
    /// The handle of a new layer, which others find by its name for as long as it is held.
    pub(super) fn register(
        kind: Kind,
        telemetry: &Telemetry,
        limiter: Limiter,
        switches: Switches,
    ) -> Self {
        let (id, telemetry) = (telemetry.stats().id(), telemetry.clone());
        let (unpinned, keyed) = (Mutex::new(None), OnceLock::new());
        let state = Arc::new(State { id, kind, telemetry, limiter, switches, keyed, unpinned });
        let part: Weak<State> = Arc::downgrade(&state);
        Registry::global().add(id, part);
        Self { state }
    }

    /// Has the registry show these compartments instead of the limiter.
    pub(super) fn show_keyed(&self, keyed: Weak<dyn Keyed>) {
        // A layer gets compartments once, so that the cell is empty.
        let _ = self.state.keyed.set(keyed);
    }

    /// The handles of all layers in this process, in the order in which they were made.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Registry::global().all_of().into_iter().map(|state| Self { state }).collect()
    }

    /// The handle of the layer with this name; of several the newest. `None`: there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().rev().find(|handle| handle.name() == name)
    }

    /// The number of the layer in this process: that of its [`Report`].
    #[must_use]
    pub fn id(&self) -> u64 {
        self.state.id
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.telemetry.policy()
    }

    /// The limiter inside. Where there is a compartment for each key, no request is admitted by it.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.state.limiter
    }

    /// The state at this moment. `in_flight` includes requests that hold no permit, because they are exempt,
    /// because a dry run would have rejected them, or because their handler has released it. Compartments for each
    /// key count together.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.state.limiter.snapshot();
        snapshot.in_flight += self.state.switches.count();
        let compartments = self.state.compartments().into_iter();
        for compartment in compartments.filter(|it| !it.is_idle()) {
            let part = compartment.snapshot();
            snapshot.in_flight += part.in_flight;
            snapshot.apart += part.apart;
            snapshot.queued += part.queued;
            snapshot.overloaded |= part.overloaded;
        }
        snapshot
    }

    /// Streams that count as such, and hold no permit: see [`StreamPolicy`](crate::StreamPolicy).
    #[must_use]
    pub fn streams(&self) -> usize {
        self.state.switches.stream_count()
    }

    /// How near the layer is to rejecting requests.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.state.limiter.pressure()
    }

    /// Whether a load balancer should send requests here; see [`Readiness`].
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::new(self.state.limiter.clone())
    }

    /// Keeps the limit at or above this number; clamped to 1..=1 000 000. A lower maximum rises with it.
    pub fn set_min(&self, min: usize) {
        let min = min.clamp(1, MAX);
        self.change_bounds(|(_, max)| (min, max.max(min)));
    }

    /// Keeps the limit at or below this number; clamped to 1..=1 000 000. A higher minimum falls with it.
    pub fn set_max(&self, max: usize) {
        let max = max.clamp(1, MAX);
        self.change_bounds(|(min, _)| (min.min(max), max));
    }

    /// Pins the limit to this number, clamped to 1..=1 000 000, until [`unpin`](Self::unpin).
    pub fn pin(&self, limit: usize) {
        let mut unpinned = lock(&self.state.unpinned);
        unpinned.get_or_insert_with(|| self.state.limiter.limit_bounds());
        let limit = limit.clamp(1, MAX);
        self.each(|limiter| limiter.bound_limit(limit, limit));
    }

    /// Lets the limit move again, within the bounds that it had before it was pinned.
    pub fn unpin(&self) {
        if let Some((min, max)) = lock(&self.state.unpinned).take() {
            self.each(|limiter| limiter.bound_limit(min, max));
        }
    }

    /// Switches the dry run on or off, whatever the layer was built with.
    pub fn set_dry_run(&self, dry_run: bool) {
        self.state.switches.set_dry_run(dry_run);
    }

    /// A soft stop: starts no request for `duration` and rejects none; see [`Limiter::pause`].
    pub fn pause(&self, duration: Duration) {
        self.each(|limiter| limiter.pause(duration));
    }

    /// A hard stop: rejects new requests and those in the queue, until [`resume`](Self::resume).
    pub fn stop(&self) {
        self.each(|limiter| limiter.stop());
    }

    /// Rejects new requests before the process ends; see [`Limiter::drain`].
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// # async fn run(listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// let admission = AdmissionLayer::adaptive("api");
    /// let handle = admission.handle().clone();
    /// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(admission);
    /// let shutdown = async move {
    ///     // On a signal, for example.
    ///     std::future::pending::<()>().await;
    ///     handle.drain();
    ///     handle.drained().await;
    /// };
    /// axum::serve(listener, app).with_graceful_shutdown(shutdown).await
    /// # }
    /// ```
    pub fn drain(&self) {
        self.each(|limiter| limiter.drain());
    }

    /// Resolves when no request is in flight or in the queue, those without a permit and streams included. A handler behind
    /// the layer that waits for it waits for its own request: have it answer first.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub async fn drained(&self) {
        let without_permit = || self.state.switches.count() + self.streams();
        loop {
            // One limiter after the other: a look at one with requests in flight takes no lock. Before what holds no
            // permit any more, since a response that turns out to be a stream releases its permit late.
            match self.limiters().find(|limiter| !limiter.is_empty()) {
                Some(limiter) => limiter.drained().await,
                None if without_permit() == 0 => return,
                None => {
                    while without_permit() > 0 {
                        sleep(DRAINED_INTERVAL).await;
                    }
                }
            }
        }
    }

    /// Resolves when the layer is drained or stopped: for a stream that should end then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let handle = AdmissionLayer::adaptive("events").handle().clone();
    /// let stream = tokio::spawn({
    ///     let handle = handle.clone();
    ///     async move {
    ///         tokio::select! {
    ///             () = handle.stopping() => "the last event: come back elsewhere",
    ///             () = std::future::pending() => "an event",
    ///         }
    ///     }
    /// });
    /// handle.drain();
    /// assert_eq!(stream.await.expect("no panic"), "the last event: come back elsewhere");
    /// # }
    /// ```
    pub async fn stopping(&self) {
        self.state.limiter.stopping().await;
    }

    /// Ends a pause, a drain or a stop.
    pub fn resume(&self) {
        self.each(|limiter| limiter.resume());
    }

    /// Operates the limiter, and those of all compartments. A compartment of a later key is made as this limiter is,
    /// so that this one comes first.
    fn each(&self, operate: impl Fn(&Limiter)) {
        self.limiters().for_each(|limiter| operate(&limiter));
    }

    /// The limiter, then those of all compartments.
    fn limiters(&self) -> impl Iterator<Item = Limiter> + use<'_> {
        let own = std::iter::once_with(|| self.state.limiter.clone());
        own.chain(std::iter::once_with(|| self.state.compartments()).flatten())
    }

    /// Changes the bounds that hold now, or once the limit is not pinned any more.
    fn change_bounds(&self, change: impl FnOnce((usize, usize)) -> (usize, usize)) {
        match &mut *lock(&self.state.unpinned) {
            Some(bounds) => *bounds = change(*bounds),
            None => {
                let (min, max) = change(self.state.limiter.limit_bounds());
                self.each(|limiter| limiter.bound_limit(min, max));
            }
        }
    }
}

impl State {
    /// The limiters of compartments, where there is one for each key.
    fn compartments(&self) -> Vec<Limiter> {
        let keyed = self.keyed.get().and_then(Weak::upgrade);
        keyed.map_or_else(Vec::new, |keyed| keyed.limiters())
    }
}

impl Part for State {
    fn report(&self) -> Report {
        let mut report = Report::new(self.id, Arc::clone(self.telemetry.policy()), self.kind);
        report.dry_run = self.switches.is_dry_run();
        self.telemetry.stats().fill(&mut report);
        match self.keyed.get().and_then(Weak::upgrade) {
            Some(keyed) => keyed.fill(&mut report),
            None => {
                let (uncounted, streams) = (self.switches.count(), self.switches.stream_count());
                report.limiter = Some(LimiterReport::of(&self.limiter, uncounted, streams));
            }
        }
        report
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
