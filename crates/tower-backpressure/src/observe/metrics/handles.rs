//! The metrics of one policy: their names, units and descriptions.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use backpressure_core::Reason;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::shown::Shown;
use crate::limiter::{CAUSES, Limiter};

pub(super) struct Handles {
    pub(super) admitted: Counter,
    /// In the order of [`Reason::ALL`], as the next.
    pub(super) shed: Vec<Counter>,
    pub(super) would_reject: Vec<Counter>,
    pub(super) exempt: Counter,
    pub(super) cancelled_in_queue: Counter,
    pub(super) cancelled_in_service: Counter,
    pub(super) marks_removed: Counter,
    pub(super) in_flight: Gauge,
    pub(super) streams: Gauge,
    pub(super) queue_depth: Gauge,
    /// Made when a limiter is shown first: not every policy has one.
    limiter: OnceLock<LimiterHandles>,
    pub(super) wait_admitted: Histogram,
    pub(super) wait_rejected: Histogram,
    pub(super) wait_cancelled: Histogram,
    pub(super) permit: Histogram,
    pub(super) retry_after: Histogram,
    policy: String,
}

const LIMIT: &str = "backpressure_limit";

/// The state of a limiter.
struct LimiterHandles {
    limit: Gauge,
    limit_min: Gauge,
    limit_max: Gauge,
    pressure: Gauge,
    /// In the order of [`CAUSES`], each with the changes that it has been told.
    limit_changes: Vec<(Counter, AtomicU64)>,
    shown: Shown,
}

impl Handles {
    pub(super) fn new(policy: &str) -> Self {
        describe();
        let policy = policy.to_owned();
        let requests = |result: &'static str, reason: &'static str| counter!("backpressure_requests_total", "policy" => policy.clone(), "result" => result, "reason" => reason);
        let for_each_reason =
            |result| Reason::ALL.iter().map(|reason| requests(result, reason.as_str())).collect();
        let cancelled = |stage: &'static str| counter!("backpressure_cancelled_total", "policy" => policy.clone(), "stage" => stage);
        let wait = |result: &'static str| histogram!("backpressure_queue_wait_seconds", "policy" => policy.clone(), "result" => result);
        Self {
            admitted: requests("admitted", ""),
            shed: for_each_reason("shed"),
            would_reject: for_each_reason("would_reject"),
            exempt: requests("exempt", ""),
            cancelled_in_queue: cancelled("queue"),
            cancelled_in_service: cancelled("service"),
            marks_removed: counter!("backpressure_marks_removed_total", "policy" => policy.clone()),
            in_flight: gauge!("backpressure_in_flight", "policy" => policy.clone()),
            streams: gauge!("backpressure_streams", "policy" => policy.clone()),
            queue_depth: gauge!("backpressure_queue_depth", "policy" => policy.clone()),
            limiter: OnceLock::new(),
            wait_admitted: wait("admitted"),
            wait_rejected: wait("rejected"),
            wait_cancelled: wait("cancelled"),
            permit: histogram!("backpressure_permit_seconds", "policy" => policy.clone()),
            retry_after: histogram!("backpressure_retry_after_seconds", "policy" => policy.clone()),
            policy,
        }
    }

    /// Shows the limit alone.
    #[inline]
    pub(super) fn show_limit(&self, limiter: &Limiter) {
        self.limiter().limit.set(limiter.limit() as f64);
    }

    /// Shows the state of a limiter in the gauges.
    #[cold]
    pub(super) fn show(&self, limiter: &Limiter) {
        let (min, max) = limiter.published_bounds();
        let handles = self.limiter();
        handles.limit.set(limiter.limit() as f64);
        handles.limit_min.set(min as f64);
        handles.limit_max.set(max as f64);
        handles.pressure.set(limiter.pressure().value());
        for ((counter, told), count) in handles.limit_changes.iter().zip(limiter.limit_changes()) {
            // Of another policy of this name, the counter may have more.
            counter.increment(count.saturating_sub(told.fetch_max(count, Ordering::Relaxed)));
        }
    }

    /// Clears the gauges of the limiter, which is no more.
    pub(super) fn policy_has_ended(&self) {
        let Some(handles) = self.limiter.get() else { return };
        let LimiterHandles { limit, limit_min, limit_max, pressure, shown, .. } = handles;
        shown
            .end(|| [limit, limit_min, limit_max, pressure].into_iter().for_each(|it| it.set(0.0)));
    }

    fn limiter(&self) -> &LimiterHandles {
        self.limiter.get_or_init(|| LimiterHandles::new(&self.policy))
    }
}

impl LimiterHandles {
    fn new(policy: &str) -> Self {
        let policy = policy.to_owned();
        let changes = |cause: &&'static str| {
            let counter = counter!("backpressure_limit_changes_total", "policy" => policy.clone(), "cause" => *cause);
            (counter, AtomicU64::new(0))
        };
        Self {
            limit: gauge!(LIMIT, "policy" => policy.clone()),
            limit_min: gauge!("backpressure_limit_min", "policy" => policy.clone()),
            limit_max: gauge!("backpressure_limit_max", "policy" => policy.clone()),
            pressure: gauge!("backpressure_pressure", "policy" => policy.clone()),
            limit_changes: CAUSES.iter().map(changes).collect(),
            shown: Shown::new(LIMIT, &policy),
        }
    }
}

/// Describes the metrics to the recorder, for each policy anew: a recorder keeps one description of a name.
fn describe() {
    let count = Unit::Count;
    describe_counter!(
        "backpressure_requests_total",
        count,
        "Requests by decision: admitted, shed (rejected), exempt, or would_reject in a dry run, with the reason."
    );
    describe_counter!(
        "backpressure_cancelled_total",
        count,
        "Requests that were dropped before there was a response, in the queue or in the service."
    );
    describe_counter!(
        "backpressure_marks_removed_total",
        count,
        "Responses of admitted requests from which a mark 'not begun' was removed."
    );
    describe_counter!("backpressure_limit_changes_total", count, "Changes of the limit by cause.");
    describe_gauge!(
        "backpressure_in_flight",
        count,
        "Requests in flight, those without a permit included."
    );
    describe_gauge!(
        "backpressure_streams",
        count,
        "Open streams that count under a cap of their own."
    );
    describe_gauge!("backpressure_queue_depth", count, "Requests in the queue.");
    describe_gauge!(LIMIT, count, "Requests that may be in flight at once.");
    describe_gauge!("backpressure_limit_min", count, "Lower bound of the limit.");
    describe_gauge!("backpressure_limit_max", count, "Upper bound of the limit.");
    describe_gauge!(
        "backpressure_pressure",
        "How near the layer is to rejecting requests: up to 0.5 permits are free, above requests queue, at 1 they are rejected."
    );
    describe_histogram!(
        "backpressure_queue_wait_seconds",
        Unit::Seconds,
        "Time in the queue, of requests that had to wait."
    );
    describe_histogram!(
        "backpressure_permit_seconds",
        Unit::Seconds,
        "Time from admission to the end of the response, of one request in 16."
    );
    describe_histogram!(
        "backpressure_retry_after_seconds",
        Unit::Seconds,
        "When rejected requests were told to come back."
    );
}
