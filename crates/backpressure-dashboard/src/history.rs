//! Five minutes of history of each policy: a ring of samples.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::view::{LimitView, PolicyView};

/// Samples that are kept: five minutes, one each second. Long enough to see how an overload began, and about 20 kB a
/// policy.
pub(crate) const SAMPLES: usize = 300;

/// What is kept of a policy for each second.
const FIELDS: [&str; 10] = [
    "limit",
    "in_flight",
    "queued",
    "admitted",
    "rejected",
    "p50_ms",
    "p99_ms",
    "wait_p99_ms",
    "pressure",
    "retried",
];

/// The samples of all policies that are shown.
#[derive(Debug, Default)]
pub(crate) struct History {
    policies: HashMap<u64, VecDeque<[f32; FIELDS.len()]>>,
    /// The number of the last sample.
    sequence: u64,
}

impl History {
    /// Adds a sample of each policy, and forgets those that have ended.
    pub(crate) fn push(&mut self, policies: &[PolicyView], sequence: u64) {
        self.sequence = sequence;
        let mut before = std::mem::take(&mut self.policies);
        for policy in policies {
            let mut samples = before.remove(&policy.id).unwrap_or_default();
            if samples.len() == SAMPLES {
                samples.pop_front();
            }
            samples.push_back(sample(policy));
            self.policies.insert(policy.id, samples);
        }
    }

    /// All samples, oldest first; `null` where there was no value.
    pub(crate) fn to_json(&self) -> Value {
        let mut policies = Map::new();
        for (id, samples) in &self.policies {
            let mut series = Map::new();
            for (index, field) in FIELDS.iter().enumerate() {
                let values: Vec<_> = samples.iter().map(|sample| number(sample[index])).collect();
                series.insert((*field).to_owned(), Value::Array(values));
            }
            policies.insert(id.to_string(), Value::Object(series));
        }
        json!({ "version": 1, "sequence": self.sequence, "interval_s": 1, "samples": SAMPLES, "policies": policies })
    }
}

fn sample(policy: &PolicyView) -> [f32; FIELDS.len()] {
    // Of a policy with a limiter for each origin, the sum of those shown.
    let of_limit = |read: fn(&LimitView) -> usize| match &policy.limit {
        Some(limit) => Some(read(limit) as f64),
        None => {
            let limits: Vec<_> =
                policy.parts.iter().filter_map(|part| part.limit.as_ref()).collect();
            (!limits.is_empty()).then(|| limits.iter().map(|limit| read(limit) as f64).sum())
        }
    };
    [
        of_limit(|it| it.limit),
        of_limit(|it| it.in_flight),
        of_limit(|it| it.queued),
        Some(policy.per_second.admitted),
        Some(policy.per_second.rejected),
        policy.response_ms.map(|it| it.p50),
        policy.response_ms.map(|it| it.p99),
        policy.wait_ms.map(|it| it.p99),
        Some(policy.pressure),
        policy.retries.as_ref().map(|it| it.retried_per_second),
    ]
    .map(|value| value.map_or(f32::NAN, |value| value as f32))
}

/// Three decimals are more than a chart shows.
fn number(value: f32) -> Value {
    let rounded = (f64::from(value) * 1_000.0).round() / 1_000.0;
    serde_json::Number::from_f64(rounded).map_or(Value::Null, Value::Number)
}
