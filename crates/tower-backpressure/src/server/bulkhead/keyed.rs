//! A bulkhead for each key: as many compartments as there are tenants, hosts or routes.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
            let state = self.lock();
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
        let all = self.lock().map.recent(usize::MAX);
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
        let mut state = self.lock();
        let State { map, name } = &mut *state;
        name.clear();
        if let Some(key) = key {
            // A key of any bytes has one name, which is not that of requests without a key.
            let _ = write!(name, "key:{}", key.as_bytes().escape_ascii());
        }
        if let Some(policy) = map.find(name) {
            return policy;
        }
        let name = name.clone();
        drop(state);
        self.insert(&name)
    }

    /// Makes a compartment without the lock: a flood of new keys does not hold up those that are known. Another request
    /// of this key may have been faster.
    #[cold]
    fn insert(&self, name: &str) -> Arc<Policy> {
        let mut made = Some(self.policy(name));
        let make = || {
            let made = made.take().expect("it is made once");
            // Under the lock: what an operator does to all compartments misses none.
            made.limiter.operate_as(&self.template.limiter);
            made
        };
        let (policy, forgotten) = self.lock().map.get_or_insert(name, make);
        // Without the lock as well.
        drop((made, forgotten));
        policy
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self, name: &str) -> Policy {
        let template = (*self.template).clone();
        let limiter = Limiter::fixed(self.limit, self.queue);
        Policy { limiter, telemetry: template.telemetry.of_origin(name), ..template }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn requests_that_are_the_first_of_a_key_at_once_share_one_compartment() {
        let all = Compartments::new(&AdmissionLayer::fixed("keyed", 1), 1, QueueBounds::NONE);
        let barrier = Barrier::new(4);
        for key in 0..200_u64 {
            let first = || {
                barrier.wait();
                all.get(Some(QuotaKey::from(key)))
            };
            let policies: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(first)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(policies.iter().all(|policy| Arc::ptr_eq(policy, &policies[0])), "{key}");
        }
    }
}
