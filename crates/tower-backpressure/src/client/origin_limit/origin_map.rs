//! The recently used origins, each with its policy.

use std::collections::HashMap;
use std::sync::Arc;

use super::origin_key::OriginKey;
use crate::admission::Policy;

/// A policy for each recently used origin.
#[derive(Debug, Default)]
pub(super) struct OriginMap {
    policies: HashMap<Box<str>, Entry>,
    /// The most recently used name, cached so that a repeated look-up allocates nothing.
    name: String,
    /// The number of look-ups so far.
    lookups: u64,
}

#[derive(Debug)]
struct Entry {
    policy: Arc<Policy>,
    /// The number of its last look-up.
    last_used: u64,
}

/// More would take more than 2 MiB, at about 2 KiB each. Fewer would make a service with many dependencies
/// lose limits that it has learned. A crawler visits more origins; those it returns to start anew.
pub(super) const MAX_IDLE_ORIGINS: usize = 1_024;

impl OriginMap {
    /// The policy of this origin; a new one if there is none.
    pub(super) fn get_or_insert(
        &mut self,
        origin: OriginKey<'_>,
        make: impl FnOnce(&str) -> Policy,
    ) -> Arc<Policy> {
        self.lookups += 1;
        origin.write_to(&mut self.name);
        if let Some(entry) = self.policies.get_mut(self.name.as_str()) {
            entry.last_used = self.lookups;
            return Arc::clone(&entry.policy);
        }
        while self.policies.len() >= MAX_IDLE_ORIGINS && self.forget_idle() {}
        let policy = Arc::new(make(&self.name));
        let entry = Entry { policy: Arc::clone(&policy), last_used: self.lookups };
        self.policies.insert(self.name.as_str().into(), entry);
        policy
    }

    /// The policy of this origin, if there is one.
    pub(super) fn get(&mut self, origin: OriginKey<'_>) -> Option<&Policy> {
        origin.write_to(&mut self.name);
        self.policies.get(self.name.as_str()).map(|entry| entry.policy.as_ref())
    }

    /// Forgets the least recently used idle origin; false if none is idle.
    ///
    /// Origins in use stay, whatever their number. Forgetting one would lose its permits, and each belongs to
    /// a request that takes far more memory than the policy.
    fn forget_idle(&mut self) -> bool {
        let idle = self.policies.iter_mut().filter_map(|(name, entry)| entry.idle_since(name));
        let Some((_, oldest)) = idle.min() else { return false };
        let oldest = oldest.to_owned();
        self.policies.remove(oldest.as_str()).is_some()
    }
}

impl Entry {
    /// The number of the last look-up, unless a request is being admitted, in the queue or in flight.
    fn idle_since<'a>(&mut self, name: &'a str) -> Option<(u64, &'a str)> {
        // A request that is being admitted or in the queue has a reference to the policy.
        let policy = Arc::get_mut(&mut self.policy)?;
        (policy.limiter.snapshot().in_flight == 0).then_some((self.last_used, name))
    }
}
