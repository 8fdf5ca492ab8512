//! What operators see: the registry of live policies, metrics, and an event when shedding starts and stops.
//!
//! [`Registry`] knows every layer of the process, and [`Report`] is what one of them is and does at one moment: what a
//! dashboard shows. [`Observer`] is told of each decision. Nothing here decides anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backpressure_core::Shed;
use tokio::time::Instant;

use crate::limiter::Limiter;
use crate::nanos::nanos;

#[cfg_attr(not(feature = "metrics"), path = "observe/no_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "observe/no_tracing.rs")]
mod tracing;

mod distribution;
mod in_flight;
mod nesting;
mod observer;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
mod registry;
mod report;
mod stats;

pub use distribution::Distribution;
pub(crate) use in_flight::InFlight;
use in_flight::{End, Followed};
pub(crate) use metrics::StreamCount;
#[cfg(all(feature = "metrics", feature = "policy"))]
pub(crate) use metrics::policy_event;
#[cfg(all(feature = "metrics", any(feature = "client", feature = "server")))]
pub(crate) use metrics::shown::Shown;
pub(crate) use nesting::Inside;
pub use observer::{Event, Observer};
#[cfg(feature = "opentelemetry")]
pub use opentelemetry::OpenTelemetry;
#[cfg(feature = "client")]
pub(crate) use registry::next_id;
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) use registry::{Part, is_watched};
pub use registry::{Registry, Watch};
pub use report::{Kind, LimiterReport, PartReport, Report, Requests, RetryReport, TenantReport};
pub(crate) use stats::Stats;
use stats::Timing;

/// Records what one layer does. A quota has no limiter. Without the features `metrics` and `tracing` it does nothing.
#[derive(Clone)]
pub(crate) struct Telemetry {
    pub(crate) dry_run: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    metrics: metrics::Metrics,
    episode: Arc<Episode>,
}

/// A request in the queue. If it is dropped without a decision, it was cancelled.
pub(crate) struct Queued {
    since: Instant,
    is_decided: bool,
    telemetry: Telemetry,
    _depth: metrics::QueueDepth,
}

/// A stretch of time in which requests are shed. It begins with the first of them and ends with the
/// first admission after [`EPISODE_GAP`] without another.
#[derive(Debug)]
struct Episode {
    policy: Arc<str>,
    /// The origin of a client's limit; `None` for a server.
    origin: Option<Arc<str>>,
    /// What the registry shows: that of all origins together.
    stats: Arc<Stats>,
    epoch: Instant,
    /// Nanoseconds from `epoch` to the last request that was shed; 0: no episode.
    last_shed: AtomicU64,
    shed: AtomicU64,
}

/// Shorter gaps would turn one overload into many events.
const EPISODE_GAP: Duration = Duration::from_secs(1);

impl Telemetry {
    pub(crate) fn new(policy: &str) -> Self {
        let policy: Arc<str> = policy.into();
        let metrics = metrics::Metrics::new(&policy);
        let episode = Arc::new(Episode::new(policy, None, Stats::new()));
        Self { dry_run: false, observer: None, metrics, episode }
    }

    /// The same policy for one origin of many. Events name the origin; metrics do not, as the number
    /// of origins has no bound.
    pub(crate) fn of_origin(&self, origin: &str) -> Self {
        let (policy, stats) = (Arc::clone(&self.episode.policy), Arc::clone(self.stats()));
        let episode = Episode::new(policy, Some(origin.into()), stats);
        Self { episode: Arc::new(episode), ..self.clone() }
    }

    /// The origin of a client's limit; `None` for a server.
    #[cfg(feature = "reqwest")]
    pub(crate) fn origin(&self) -> Option<&Arc<str>> {
        self.episode.origin.as_ref()
    }

    /// What the registry shows of this policy.
    pub(crate) fn stats(&self) -> &Arc<Stats> {
        &self.episode.stats
    }

    /// The name of the policy.
    pub(crate) fn policy(&self) -> &Arc<str> {
        &self.episode.policy
    }

    /// A request was admitted after so long; it is in flight until the returned value is dropped.
    #[inline]
    pub(crate) fn admitted<'a>(
        &self,
        limiter: impl Into<Option<&'a Limiter>>,
        waited: Duration,
    ) -> InFlight {
        let counted = self.metrics.in_flight();
        self.would_admit(limiter, waited);
        InFlight::new(counted, self.follow(true))
    }

    /// A request is in flight until the returned value is dropped, and counted elsewhere.
    pub(crate) fn in_flight(&self) -> InFlight {
        InFlight::new(self.metrics.in_flight(), self.follow(false))
    }

    /// What is measured of a request in flight.
    #[inline(always)]
    fn follow(&self, is_timed: bool) -> Option<Box<Followed>> {
        let is_followed = self.stats().is_followed();
        if is_followed || self.observer.is_some() {
            self.start_following(is_followed, is_timed)
        } else {
            None
        }
    }

    #[cold]
    fn start_following(&self, is_followed: bool, is_timed: bool) -> Option<Box<Followed>> {
        if is_followed {
            self.stats().note_around();
        }
        let is_timed = is_timed && is_followed && self.stats().is_turn();
        let timing = is_timed.then(|| Timing::start(self.stats()));
        let end = self.observer.as_ref().and_then(|observer| End::of(observer, self.policy()));
        (is_followed || end.is_some()).then(|| Followed::new(timing, end, self.stats().id()))
    }

    /// A stream is open until the returned value is dropped.
    pub(crate) fn stream(&self) -> StreamCount {
        self.metrics.stream()
    }

    /// An exempt request is in flight until the returned value is dropped.
    pub(crate) fn exempt(&self) -> InFlight {
        self.metrics.exempt();
        self.stats().exempt();
        self.observe(Event::Exempt);
        self.in_flight()
    }

    /// Counts an admission.
    #[inline(always)]
    pub(crate) fn would_admit<'a>(
        &self,
        limiter: impl Into<Option<&'a Limiter>>,
        waited: Duration,
    ) {
        let limiter = limiter.into();
        self.episode.admitted(limiter, self.dry_run);
        self.metrics.admitted(self.shown(limiter));
        self.stats().admitted();
        self.observe(Event::Admitted { waited });
    }

    /// In a dry run, a request runs that would have been rejected.
    pub(crate) fn would_reject<'a>(
        &self,
        shed: Shed,
        limiter: impl Into<Option<&'a Limiter>>,
        now: Instant,
    ) {
        let limiter = limiter.into();
        self.episode.shed(shed, limiter, now, true);
        self.metrics.would_reject(shed, self.shown(limiter));
        self.stats().would_reject();
        self.observe(Event::WouldReject { shed });
    }

    /// A request was rejected after so long.
    pub(crate) fn rejected<'a>(
        &self,
        shed: Shed,
        limiter: impl Into<Option<&'a Limiter>>,
        now: Instant,
        waited: Duration,
    ) {
        let limiter = limiter.into();
        self.episode.shed(shed, limiter, now, false);
        self.metrics.shed(shed, self.shown(limiter));
        self.stats().rejected(shed);
        self.observe(Event::Rejected { shed, waited });
    }

    #[inline]
    fn observe(&self, event: Event) {
        tracing::decided(event);
        if let Some(observer) = &self.observer {
            observer.observe(&self.episode.policy, event);
        }
    }

    /// The limiter whose limit the gauge shows: one gauge cannot show the limits of many origins.
    fn shown<'a>(&self, limiter: Option<&'a Limiter>) -> Option<&'a Limiter> {
        limiter.filter(|_| self.episode.origin.is_none())
    }

    /// A request is in the queue until the returned value is dropped.
    pub(crate) fn queued(&self, since: Instant) -> Queued {
        let _depth = self.metrics.queued();
        Queued { since, is_decided: false, telemetry: self.clone(), _depth }
    }
}

impl Queued {
    /// The request has left the queue, admitted or rejected; returns how long it was there.
    pub(crate) fn decided(&mut self, was_admitted: bool) -> Duration {
        self.is_decided = true;
        let waited = self.since.elapsed();
        self.telemetry.metrics.waited(waited, was_admitted);
        self.telemetry.stats().waited(waited);
        waited
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.is_decided {
            let waited = self.since.elapsed();
            self.telemetry.metrics.cancelled(waited);
            self.telemetry.stats().cancelled();
            self.telemetry.observe(Event::Cancelled { waited });
        }
    }
}

impl Episode {
    fn new(policy: Arc<str>, origin: Option<Arc<str>>, stats: Arc<Stats>) -> Self {
        let (last_shed, shed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { policy, origin, stats, epoch: Instant::now(), last_shed, shed }
    }

    fn shed(&self, shed: Shed, limiter: Option<&Limiter>, now: Instant, dry_run: bool) {
        let now = self.nanos(now);
        self.shed.fetch_add(1, Ordering::Relaxed);
        if self.last_shed.swap(now, Ordering::AcqRel) == 0 {
            tracing::shedding_starts(&self.policy, self.origin.as_deref(), shed, limiter, dry_run);
        }
    }

    #[inline]
    fn admitted(&self, limiter: Option<&Limiter>, dry_run: bool) {
        if self.last_shed.load(Ordering::Relaxed) != 0 {
            self.check_end(limiter, dry_run);
        }
    }

    #[cold]
    fn check_end(&self, limiter: Option<&Limiter>, dry_run: bool) {
        let last = self.last_shed.load(Ordering::Relaxed);
        if last == 0 || self.nanos(Instant::now()).saturating_sub(last) < nanos(EPISODE_GAP) {
            return;
        }
        // Of several threads, the one that resets the time reports the end.
        let ended = self.last_shed.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Relaxed);
        if ended.is_ok() {
            let count = self.shed.swap(0, Ordering::Relaxed);
            tracing::shedding_stops(&self.policy, self.origin.as_deref(), count, limiter, dry_run);
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch)).max(1)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_observed = self.observer.is_some();
        f.debug_struct("Telemetry")
            .field("policy", &self.episode.policy)
            .field("is_observed", &is_observed)
            .finish_non_exhaustive()
    }
}
