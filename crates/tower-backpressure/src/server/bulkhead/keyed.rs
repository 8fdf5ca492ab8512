//! A bulkhead for each key: as many compartments as there are tenants, hosts or routes.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use backpressure_core::QueueBounds;
use backpressure_core::limit::MAX;
use http::request::Parts;

use crate::admission::Policy;
use crate::keyed_map::KeyedMap;
use crate::limiter::Limiter;
use crate::observe::{LimiterReport, PartReport, Report};
use crate::server::admission::AdmissionLayer;
use crate::server::handle::Keyed;
use crate::server::quota::{ExtractKey, QuotaKey};

/// The compartments of all keys that were used lately.
pub(super) struct Compartments {
    state: Mutex<State>,
    /// What a new compartment is made from.
    template: Arc<Policy>,
    limit: usize,
    queue: QueueBounds,
}

struct State {
    map: KeyedMap<Policy>,
    /// The name that was looked up last, so that a known one allocates nothing.
    name: String,
}

/// The number of most recently used compartments among which the registry looks for those with the most requests.
const EXAMINED: usize = 4 * Report::MAX_PARTS;
/// Compartments that are kept although no request uses them: they hold nothing that is lost when they are made
/// anew. Those with a request in flight or in the queue are never forgotten.
const MAX_IDLE: usize = 1_024;

impl Keyed for Compartments {
    fn fill(&self, report: &mut Report) {
        let (recent, count) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.map.recent(EXAMINED), state.map.len())
        };
        let part = |(name, policy): (Arc<str>, Arc<Policy>)| {
            let mut part = PartReport::new(name.strip_prefix("key:").unwrap_or("(no key)"));
            part.limiter = Some(LimiterReport::of(&policy.limiter, 0, 0));
            part
        };
        report.set_parts(recent.into_iter().map(part).collect(), count);
    }

    fn limiters(&self) -> Vec<Limiter> {
        let all = self.state.lock().unwrap_or_else(PoisonError::into_inner).map.recent(usize::MAX);
        all.into_iter().map(|(_, policy)| policy.limiter.clone()).collect()
    }
}

impl fmt::Debug for Compartments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compartments").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Compartments {
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    pub(super) fn new(template: &AdmissionLayer, limit: usize, queue: QueueBounds) -> Self {
        assert!((1..=MAX).contains(&limit), "limit must be in 1..={MAX}");
        let state = State { map: KeyedMap::new(MAX_IDLE), name: String::new() };
        let template = Arc::clone(&template.policy);
        Self { state: Mutex::new(state), template, limit, queue }
    }

    /// The compartment of a request; all requests without a key share one.
    pub(super) fn select(&self, head: &Parts, key: &impl ExtractKey) -> Arc<Policy> {
        self.get(key.extract(head))
    }

    fn get(&self, key: Option<QuotaKey>) -> Arc<Policy> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { map, name } = &mut *state;
        name.clear();
        if let Some(key) = key {
            // A key of any bytes has one name, which is not that of requests without a key.
            let _ = write!(name, "key:{}", key.as_bytes().escape_ascii());
        }
        let (policy, forgotten) = map.get_or_insert(name, || self.policy(name));
        // The lock is released before what was forgotten is dropped.
        drop(state);
        drop(forgotten);
        policy
    }

    #[cold]
    fn policy(&self, name: &str) -> Policy {
        let template = (*self.template).clone();
        let limiter = Limiter::fixed(self.limit, self.queue);
        limiter.operate_as(&template.limiter);
        Policy { limiter, telemetry: template.telemetry.of_origin(name), ..template }
    }
}
