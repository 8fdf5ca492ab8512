//! Instruments, span attributes and span events of OpenTelemetry.
//!
//! It makes no pipeline: readers, exporters and samplers are those of the program.

use std::fmt;
use std::slice;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backpressure_core::Shed;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};

use super::observer::{Event, Observer};
use super::registry::{Registry, Watch};

mod reports;

/// Records what layers do with instruments of OpenTelemetry, and marks the spans of requests.
///
/// One is made for a process, which shows the gauges of all layers. A clone of it is the observer of each layer whose
/// requests are to be counted.
///
/// ```
/// use opentelemetry::global;
/// use tower_backpressure::{AdmissionLayer, BulkheadLayer};
/// use tower_backpressure::observe::OpenTelemetry;
///
/// let telemetry = OpenTelemetry::new(&global::meter("api"));
/// let admission = AdmissionLayer::adaptive("api").observer(telemetry.clone());
/// let payments = BulkheadLayer::new("payments", 10).observer(telemetry);
/// # let _ = (admission, payments);
/// ```
///
/// The instruments are the [metrics](https://github.com/tower-backpressure/tower-backpressure/blob/main/docs/metrics.md)
/// of the feature `metrics`, by the names of OpenTelemetry: a collector that exports to Prometheus shows the same
/// names, so that the same dashboards and alerts apply. Each has the attribute `policy`.
///
/// | instrument | kind, unit | attributes |
/// |---|---|---|
/// | `backpressure.requests` | counter | `result`: `admitted`, `shed`, `would_reject` or `exempt`; `reason` |
/// | `backpressure.cancelled` | counter | `stage`: `queue` or `service` |
/// | `backpressure.marks_removed` | counter | |
/// | `backpressure.queue_wait` | histogram, `s` | `result`: `admitted`, `rejected` or `cancelled` |
/// | `backpressure.permit` | histogram, `s`, of every request | |
/// | `backpressure.retry_after` | histogram, `s` | |
/// | `backpressure.limit`, `.limit_min`, `.limit_max`, `.in_flight`, `.queue_depth`, `.streams`, `.pressure` | observable gauges, of all layers with one limiter | |
/// | `backpressure.limit_changes` | observable counter, of the same layers | `cause` |
/// | `backpressure.attempts` | observable counter, of all retry layers | `kind`: `first` or `retry` |
/// | `backpressure.retries` | observable counter, of all retry layers | `outcome`: `retried`, or the reason to give up |
/// | `backpressure.retry_budget_balance` | observable gauge, of all retry layers | |
/// | `backpressure.held` | observable gauge, of all cool-down, breaker and throttle layers | |
/// | `backpressure.transitions` | observable counter, of the same layers | `reason`: `cooldown` or `breaker`; `to` |
///
/// Layers of a client need no observer. Attempts and retries count from the making of this value on, which
/// [watches](Registry::watch) the registry until its last clone is gone.
///
/// A request that is decided while a span is active in the current [`Context`] gets the attributes
/// `backpressure.decision` and `backpressure.queue_wait_ms`; a rejection also gets the span event
/// `backpressure.rejected` with `reason` and `retry_after_ms`.
///
/// It costs one allocation for each admitted request, and what the SDK takes for three measurements.
pub struct OpenTelemetry {
    instruments: Arc<Instruments>,
    /// The name of the layer that is observed: of a clone, that of its own layer.
    policy: OnceLock<Arc<str>>,
}

#[derive(Debug)]
struct Instruments {
    requests: Counter<u64>,
    cancelled: Counter<u64>,
    queue_wait: Histogram<f64>,
    permit: Histogram<f64>,
    retry_after: Histogram<f64>,
    marks_removed: Counter<u64>,
    /// Retries are counted in the registry, while it is watched.
    _watch: Watch,
}

/// From a millisecond to a minute, in seconds. Those of the SDK are meant for milliseconds, and would have all
/// requests in the first two buckets.
const BOUNDARIES: [f64; 15] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

impl OpenTelemetry {
    /// Makes the instruments, with this meter. Gauges show every layer of the process from now on: make one, and clone
    /// it.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        reports::observe(meter);
        Self { instruments: Arc::new(Instruments::new(meter)), policy: OnceLock::new() }
    }

    fn policy(&self, policy: &str) -> KeyValue {
        let known = self.policy.get_or_init(|| policy.into());
        let name = if **known == *policy { Arc::clone(known) } else { policy.into() };
        KeyValue::new("policy", name)
    }
}

impl Observer for OpenTelemetry {
    fn observe(&self, policy: &str, event: Event) {
        let (on, policy) = (&self.instruments, self.policy(policy));
        match event {
            Event::Admitted { waited } => {
                on.decided(&policy, event, "");
                // A request that was not queued has waited for no time at all.
                if !waited.is_zero() {
                    on.waited(&policy, "admitted", waited);
                }
            }
            Event::Rejected { shed, waited } => {
                on.decided(&policy, event, shed.reason.as_str());
                on.retry_after.record(shed.retry_after.as_secs_f64(), slice::from_ref(&policy));
                if !waited.is_zero() {
                    on.waited(&policy, "rejected", waited);
                }
            }
            Event::WouldReject { shed } => on.decided(&policy, event, shed.reason.as_str()),
            Event::Exempt => on.decided(&policy, event, ""),
            Event::Cancelled { waited } => {
                on.cancelled(&policy, "queue");
                on.waited(&policy, "cancelled", waited);
            }
            Event::Ended { held, answered } => {
                if !answered {
                    on.cancelled(&policy, "service");
                }
                on.permit.record(held.as_secs_f64(), &[policy]);
                return;
            }
            Event::MarkRemoved => {
                on.marks_removed.add(1, &[policy]);
                return;
            }
        }
        mark_span(event);
    }

    fn observes_ends(&self) -> bool {
        true
    }
}

/// The same instruments, for another layer.
impl Clone for OpenTelemetry {
    fn clone(&self) -> Self {
        Self { instruments: Arc::clone(&self.instruments), policy: OnceLock::new() }
    }
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetry").field("policy", &self.policy.get()).finish_non_exhaustive()
    }
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds = |name, text| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(text);
            histogram.with_boundaries(BOUNDARIES.to_vec()).build()
        };
        let counter = |name, text| meter.u64_counter(name).with_description(text).build();
        Self {
            requests: counter(
                "backpressure.requests",
                "Requests by decision: admitted, shed (rejected), exempt, or would_reject in a dry run, with the reason.",
            ),
            cancelled: counter(
                "backpressure.cancelled",
                "Requests whose callers left, in the queue or in the service.",
            ),
            queue_wait: seconds(
                "backpressure.queue_wait",
                "Time in the queue, by what became of the request.",
            ),
            permit: seconds(
                "backpressure.permit",
                "Time from admission to the end of the response's body.",
            ),
            retry_after: seconds(
                "backpressure.retry_after",
                "When rejected requests were told to come back.",
            ),
            marks_removed: counter(
                "backpressure.marks_removed",
                "Admitted requests that a layer inside or another service rejected.",
            ),
            _watch: Registry::global().watch(),
        }
    }

    fn decided(&self, policy: &KeyValue, event: Event, reason: &'static str) {
        let result = KeyValue::new("result", event.as_str());
        self.requests.add(1, &[policy.clone(), result, KeyValue::new("reason", reason)]);
    }

    fn cancelled(&self, policy: &KeyValue, stage: &'static str) {
        self.cancelled.add(1, &[policy.clone(), KeyValue::new("stage", stage)]);
    }

    fn waited(&self, policy: &KeyValue, result: &'static str, waited: Duration) {
        let attributes = [policy.clone(), KeyValue::new("result", result)];
        self.queue_wait.record(waited.as_secs_f64(), &attributes);
    }
}

/// Marks the span of the request, if one is active.
fn mark_span(event: Event) {
    Context::map_current(|context| {
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("backpressure.decision", event.as_str()));
        if let Some(waited) = event.waited() {
            span.set_attribute(KeyValue::new("backpressure.queue_wait_ms", millis(waited)));
        }
        if let Event::Rejected { shed: Shed { reason, retry_after, .. }, .. } = event {
            let attributes = vec![
                KeyValue::new("reason", reason.as_str()),
                KeyValue::new("retry_after_ms", millis(retry_after)),
            ];
            span.add_event("backpressure.rejected", attributes);
        }
    });
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
