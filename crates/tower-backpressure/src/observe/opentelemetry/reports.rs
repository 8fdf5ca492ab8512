//! Instruments that are read from the registry: of limiters, and of the layers of a client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::observe::registry::Registry;
use crate::observe::report::{Kind, LimiterReport, Report};

/// A count and its attributes beside the policy.
type Count = (Vec<KeyValue>, u64);

/// Makes the instruments. A meter keeps what it observes.
pub(super) fn observe(meter: &Meter) {
    type Read = fn(&LimiterReport) -> f64;
    let of_limiters: [(&str, &str, Read); 7] = [
        ("backpressure.limit", "How many may run at once.", |it| it.limit as f64),
        ("backpressure.limit_min", "The lowest limit that is allowed.", |it| it.min as f64),
        ("backpressure.limit_max", "The highest limit that is allowed.", |it| it.max as f64),
        ("backpressure.in_flight", "Requests in flight.", |it| it.in_flight as f64),
        ("backpressure.queue_depth", "Requests in the queue.", |it| it.queued as f64),
        ("backpressure.streams", "Streams that hold no permit.", |it| it.streams as f64),
        ("backpressure.pressure", "From 0 to 1: how near to rejecting requests.", |it| it.pressure),
    ];
    for (name, text, read) in of_limiters {
        gauge(meter, name, text, move |report| report.limiter.as_ref().map(read));
    }
    gauge(meter, "backpressure.retry_budget_balance", "Tokens of the retry budget.", |report| {
        report.retries.as_ref().map(|retries| retries.balance)
    });
    gauge(
        meter,
        "backpressure.held",
        "Requests that wait in a client during cool-downs.",
        |report| is_supervised(report.kind).then_some(report.held as f64),
    );
    counter(meter, "backpressure.limit_changes", "Changes of the limit by cause.", limit_changes);
    counter(meter, "backpressure.attempts", "First attempts, and retries.", attempts);
    counter(
        meter,
        "backpressure.retries",
        "Retries sent, and failures that were returned, by the reason.",
        retries,
    );
    counter(
        meter,
        "backpressure.transitions",
        "States that origins have entered, by the reason.",
        transitions,
    );
}

fn gauge(
    meter: &Meter,
    name: &'static str,
    text: &'static str,
    read: impl Fn(&Report) -> Option<f64> + Send + Sync + 'static,
) {
    let gauge = meter.f64_observable_gauge(name).with_description(text);
    gauge
        .with_callback(move |gauge| {
            for report in Registry::global().reports() {
                if let Some(value) = read(&report) {
                    gauge.observe(value, &[KeyValue::new("policy", report.name)]);
                }
            }
        })
        .build();
}

fn counter(meter: &Meter, name: &'static str, text: &'static str, read: fn(&Report) -> Vec<Count>) {
    let counter = meter.u64_observable_counter(name).with_description(text);
    let totals = Mutex::new(Totals::default());
    counter
        .with_callback(move |counter| {
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.update(&Registry::global().reports(), read);
            for series in totals.0.values() {
                counter.observe(series.total(), &series.attributes);
            }
        })
        .build();
}

/// The counts of all policies. Layers with the same name are one policy, and their counts one sum. It never falls: what
/// a layer had counted when it was last seen stays after its end.
#[derive(Debug, Default)]
struct Totals(BTreeMap<(Arc<str>, String), Series>);

#[derive(Debug)]
struct Series {
    attributes: Vec<KeyValue>,
    /// By the number of the layer.
    live: BTreeMap<u64, u64>,
    ended: u64,
}

impl Totals {
    fn update(&mut self, reports: &[Report], read: fn(&Report) -> Vec<Count>) {
        for report in reports {
            for (mut attributes, count) in read(report) {
                let key = (Arc::clone(&report.name), format!("{attributes:?}"));
                attributes.push(KeyValue::new("policy", Arc::clone(&report.name)));
                let fresh = || Series { attributes, live: BTreeMap::new(), ended: 0 };
                self.0.entry(key).or_insert_with(fresh).live.insert(report.id, count);
            }
        }
        let ids: BTreeSet<_> = reports.iter().map(|report| report.id).collect();
        for Series { live, ended, .. } in self.0.values_mut() {
            *ended += live.iter().filter(|(id, _)| !ids.contains(id)).map(|it| it.1).sum::<u64>();
            live.retain(|id, _| ids.contains(id));
        }
    }
}

impl Series {
    fn total(&self) -> u64 {
        self.ended + self.live.values().sum::<u64>()
    }
}

fn limit_changes(report: &Report) -> Vec<Count> {
    let changes = report.limiter.iter().flat_map(|limiter| &limiter.changes);
    changes.map(|&(cause, count)| (vec![KeyValue::new("cause", cause)], count)).collect()
}

fn attempts(report: &Report) -> Vec<Count> {
    let Some(retries) = &report.retries else { return Vec::new() };
    let kinds = [("first", retries.first_attempts), ("retry", retries.retried)];
    kinds.map(|(kind, count)| (vec![KeyValue::new("kind", kind)], count)).into()
}

fn retries(report: &Report) -> Vec<Count> {
    let Some(retries) = &report.retries else { return Vec::new() };
    let outcomes = [("retried", retries.retried)].into_iter().chain(retries.gave_up.clone());
    outcomes.map(|(outcome, count)| (vec![KeyValue::new("outcome", outcome)], count)).collect()
}

fn transitions(report: &Report) -> Vec<Count> {
    let reason = report.kind.as_str();
    let of = |&(to, count): &(&'static str, u64)| {
        (vec![KeyValue::new("reason", reason), KeyValue::new("to", to)], count)
    };
    report.transitions.iter().map(of).collect()
}

/// Whether a layer decides before each attempt by the state of its origin.
const fn is_supervised(kind: Kind) -> bool {
    matches!(kind, Kind::Cooldown | Kind::Breaker | Kind::Throttle)
}
