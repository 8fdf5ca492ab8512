//! Metrics through the `metrics` facade.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `backpressure_requests_total` | counter | `policy`, `result` = `admitted`, `shed`, `exempt` or `would_reject` (dry run), `reason` |
//! | `backpressure_in_flight` | gauge | `policy` |
//! | `backpressure_limit` | gauge | `policy`; not of a limit per origin |
//! | `backpressure_streams` | gauge | `policy` |
//! | `backpressure_queue_depth` | gauge | `policy` |
//! | `backpressure_queue_wait_seconds` | histogram | `policy` |

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backpressure_core::Reason;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::headers::shed_reason::index_of;
use crate::limiter::Limiter;

/// The handles of one policy. The first request makes them, so that a recorder that is installed
/// after the layer was built still sees everything.
#[derive(Clone)]
pub(super) struct Metrics {
    policy: Arc<str>,
    handles: Arc<OnceLock<Handles>>,
}

struct Handles {
    admitted: Counter,
    /// In the order of [`Reason::ALL`], as the next.
    shed: Vec<Counter>,
    would_reject: Vec<Counter>,
    exempt: Counter,
    in_flight: Gauge,
    limit: Gauge,
    streams: Gauge,
    queue_depth: Gauge,
    queue_wait: Histogram,
}

/// A request in flight, until dropped.
pub(crate) struct InFlight(Gauge);

/// A stream that counts as such, until dropped.
pub(crate) struct StreamCount(Gauge);

/// A request in the queue, until dropped.
pub(super) struct QueueDepth(Gauge);

impl Metrics {
    pub(super) fn new(policy: &Arc<str>) -> Self {
        Self { policy: Arc::clone(policy), handles: Arc::default() }
    }

    pub(super) fn in_flight(&self) -> InFlight {
        let in_flight = &self.handles().in_flight;
        in_flight.increment(1.0);
        InFlight(in_flight.clone())
    }

    pub(super) fn stream(&self) -> StreamCount {
        let streams = &self.handles().streams;
        streams.increment(1.0);
        StreamCount(streams.clone())
    }

    /// `limiter`: the one whose limit the gauge shows.
    pub(super) fn admitted(&self, limiter: Option<&Limiter>) {
        let handles = self.handles();
        handles.admitted.increment(1);
        handles.set_limit(limiter);
    }

    pub(super) fn exempt(&self) {
        self.handles().exempt.increment(1);
    }

    pub(super) fn shed(&self, reason: Reason, limiter: Option<&Limiter>) {
        let handles = self.handles();
        handles.shed[index_of(reason)].increment(1);
        handles.set_limit(limiter);
    }

    pub(super) fn would_reject(&self, reason: Reason, limiter: Option<&Limiter>) {
        let handles = self.handles();
        handles.would_reject[index_of(reason)].increment(1);
        handles.set_limit(limiter);
    }

    pub(super) fn queued(&self) -> QueueDepth {
        let depth = &self.handles().queue_depth;
        depth.increment(1.0);
        QueueDepth(depth.clone())
    }

    pub(super) fn waited(&self, wait: Duration) {
        self.handles().queue_wait.record(wait.as_secs_f64());
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles::new(&self.policy))
    }
}

impl Handles {
    fn new(policy: &str) -> Self {
        let policy = policy.to_owned();
        let requests = |result: &'static str, reason: &'static str| counter!("backpressure_requests_total", "policy" => policy.clone(), "result" => result, "reason" => reason);
        let for_each_reason =
            |result| Reason::ALL.iter().map(|reason| requests(result, reason.as_str())).collect();
        Self {
            admitted: requests("admitted", ""),
            shed: for_each_reason("shed"),
            would_reject: for_each_reason("would_reject"),
            exempt: requests("exempt", ""),
            in_flight: gauge!("backpressure_in_flight", "policy" => policy.clone()),
            limit: gauge!("backpressure_limit", "policy" => policy.clone()),
            streams: gauge!("backpressure_streams", "policy" => policy.clone()),
            queue_depth: gauge!("backpressure_queue_depth", "policy" => policy.clone()),
            queue_wait: histogram!("backpressure_queue_wait_seconds", "policy" => policy),
        }
    }

    fn set_limit(&self, limiter: Option<&Limiter>) {
        if let Some(limiter) = limiter {
            self.limit.set(limiter.limit() as f64);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Drop for QueueDepth {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamCount")
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlight")
    }
}
