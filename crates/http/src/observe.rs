//! What operators see: metrics, and an event when shedding starts and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backpressure_gate::{Gate, Shed};
use tokio::time::Instant;

#[cfg_attr(not(feature = "metrics"), path = "observe/no_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "observe/no_tracing.rs")]
mod tracing;

pub(crate) use metrics::Admitted;

/// Sees what one layer does. Without the features `metrics` and `tracing` it does nothing.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    /// Nothing is refused in earnest.
    pub(crate) dry_run: bool,
    metrics: metrics::Metrics,
    episode: Arc<Episode>,
}

/// Somebody who waits to be let in, until dropped.
pub(crate) struct Waiting {
    since: Instant,
    _queued: metrics::Queued,
}

/// A stretch of time in which requests are turned away: it begins with the first, and ends when
/// one is admitted and none was turned away for a second.
#[derive(Debug)]
struct Episode {
    policy: Arc<str>,
    /// Whom a client talks to through this gate; `None`: a server's own.
    origin: Option<Box<str>>,
    epoch: Instant,
    /// Nanoseconds from `epoch` to the last refusal; 0: no episode.
    last_shed: AtomicU64,
    shed: AtomicU64,
}

/// Without a refusal for this long, an episode is over.
const QUIET: Duration = Duration::from_secs(1);

impl Observer {
    pub(crate) fn new(policy: &str) -> Self {
        let policy: Arc<str> = policy.into();
        let metrics = metrics::Metrics::new(&policy);
        Self { dry_run: false, metrics, episode: Arc::new(Episode::new(policy, None)) }
    }

    /// The same policy at the gate to one of many origins. An origin is no label: there is no end
    /// of them.
    pub(crate) fn of_origin(&self, origin: &str) -> Self {
        let episode = Episode::new(Arc::clone(&self.episode.policy), Some(origin.into()));
        let (dry_run, metrics) = (self.dry_run, self.metrics.clone());
        Self { dry_run, metrics, episode: Arc::new(episode) }
    }

    /// A request was let in; it is in flight as long as what is returned.
    pub(crate) fn admitted(&self, gate: &Gate) -> Admitted {
        self.would_admit(gate);
        self.metrics.runs()
    }

    /// A request is in flight as long as what is returned, and was counted otherwise.
    pub(crate) fn runs(&self) -> Admitted {
        self.metrics.runs()
    }

    /// An exempt request is in flight as long as what is returned.
    pub(crate) fn exempt(&self) -> Admitted {
        self.metrics.exempt();
        self.metrics.runs()
    }

    /// A request is counted as admitted: it runs already, or will at once.
    pub(crate) fn would_admit(&self, gate: &Gate) {
        self.episode.admitted(gate, self.dry_run);
        self.look(gate);
        self.metrics.admitted();
    }

    /// A request was let through that would have been turned away without a dry run.
    pub(crate) fn would_reject(&self, shed: Shed, gate: &Gate, now: Instant) {
        self.episode.shed(shed, gate, now, true);
        self.metrics.would_reject(shed.reason);
        self.look(gate);
    }

    /// A request was turned away.
    pub(crate) fn shed(&self, shed: Shed, gate: &Gate, now: Instant) {
        self.episode.shed(shed, gate, now, false);
        self.metrics.shed(shed.reason);
        self.look(gate);
    }

    /// One gauge cannot show the limits of many gates.
    fn look(&self, gate: &Gate) {
        if self.episode.origin.is_none() {
            self.metrics.look(gate);
        }
    }

    /// A request waits as long as what is returned.
    pub(crate) fn waits(&self, since: Instant) -> Waiting {
        Waiting { since, _queued: self.metrics.queued() }
    }

    /// A request waited, and was let in or turned away.
    pub(crate) fn waited(&self, waiting: &Waiting) {
        self.metrics.waited(waiting.since.elapsed());
    }
}

impl Episode {
    fn new(policy: Arc<str>, origin: Option<Box<str>>) -> Self {
        let (last_shed, shed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { policy, origin, epoch: Instant::now(), last_shed, shed }
    }

    fn shed(&self, shed: Shed, gate: &Gate, now: Instant, dry_run: bool) {
        let now = self.nanos(now);
        self.shed.fetch_add(1, Ordering::Relaxed);
        if self.last_shed.swap(now, Ordering::AcqRel) == 0 {
            tracing::shedding_starts(&self.policy, self.origin.as_deref(), shed, gate, dry_run);
        }
    }

    fn admitted(&self, gate: &Gate, dry_run: bool) {
        let last = self.last_shed.load(Ordering::Relaxed);
        if last == 0 || self.nanos(Instant::now()).saturating_sub(last) < nanos(QUIET) {
            return;
        }
        // Whoever takes the last refusal away ends the episode.
        let ended = self.last_shed.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Relaxed);
        if ended.is_ok() {
            let count = self.shed.swap(0, Ordering::Relaxed);
            tracing::shedding_stops(&self.policy, self.origin.as_deref(), count, gate, dry_run);
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch)).max(1)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
