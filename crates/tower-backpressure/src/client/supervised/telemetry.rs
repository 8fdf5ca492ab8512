//! What operators see of decisions in a client: metrics, and an event when an origin's state changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backpressure_core::{Reason, Shed};

use crate::observe::Stats;

#[cfg_attr(not(feature = "metrics"), path = "telemetry/no_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "telemetry/no_tracing.rs")]
mod tracing;

/// Records what one layer does. Without the features `metrics` and `tracing` it counts what is held, and
/// does nothing else.
#[derive(Clone, Debug)]
pub(in crate::client) struct Telemetry {
    policy: Arc<str>,
    reason: Reason,
    metrics: metrics::Metrics,
    held: Arc<AtomicUsize>,
    /// How often origins have entered a state. There are four states at most.
    transitions: Arc<Mutex<Vec<(&'static str, u64)>>>,
    stats: Arc<Stats>,
}

/// An attempt that is held, until dropped.
#[derive(Debug)]
pub(super) struct Held {
    held: Arc<AtomicUsize>,
    metrics: metrics::Metrics,
}

impl Telemetry {
    /// `reason`: that of the layer's rejections.
    pub(super) fn new(policy: &str, reason: Reason) -> Self {
        let policy: Arc<str> = policy.into();
        let metrics = metrics::Metrics::new(&policy, reason);
        let (held, transitions) = Default::default();
        Self { policy, reason, metrics, held, transitions, stats: Stats::new() }
    }

    pub(super) const fn policy(&self) -> &Arc<str> {
        &self.policy
    }

    /// What the registry shows.
    pub(super) const fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    pub(super) fn sent(&self) {
        self.metrics.sent();
        self.stats.sent();
    }

    pub(super) fn rejected(&self, retry_after: Duration) {
        self.metrics.rejected();
        self.stats.rejected(Shed::new(self.reason, retry_after));
    }

    pub(super) fn would_reject(&self) {
        self.metrics.would_reject();
        self.stats.would_reject();
    }

    /// The state of an origin has changed. Metrics do not name the origin, as origins have no bound.
    pub(super) fn changed(&self, origin: &str, to: &'static str) {
        self.metrics.changed(to);
        let mut counts = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(state, _)| *state == to) {
            Some((_, count)) => *count += 1,
            None => counts.push((to, 1)),
        }
        drop(counts);
        tracing::changed(&self.policy, origin, self.reason, to);
    }

    /// How often origins have entered each state.
    pub(super) fn transitions(&self) -> Vec<(&'static str, u64)> {
        self.transitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Attempts that are held, of all origins.
    pub(super) fn count_held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Counts an attempt that is held; `None` when `max` are held already.
    pub(super) fn hold(&self, max: usize) -> Option<Held> {
        let one_more = |held| (held < max).then_some(held + 1);
        self.held.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).ok()?;
        self.metrics.held(1.0);
        Some(Held { held: Arc::clone(&self.held), metrics: self.metrics.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
        self.metrics.held(-1.0);
    }
}
