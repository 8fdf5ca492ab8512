//! The origins that were used lately, each with its policy.

use std::collections::HashMap;
use std::sync::Arc;

use super::origin_key::OriginKey;
use crate::admission::Policy;

/// A policy for each origin that was used lately.
#[derive(Debug, Default)]
pub(super) struct OriginMap {
    policies: HashMap<Box<str>, Entry>,
    /// The most recently used name, cached so that a repeated look-up allocates nothing.
    name: String,
    /// Look-ups so far.
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    policy: Arc<Policy>,
    /// The turn of its last use.
    used: u64,
}

/// Idle origins that are remembered: far more than a service depends on, and at about 2 KiB each
/// small beside their connections. A crawler forgets origins, which then start anew.
pub(super) const MAX_IDLE: usize = 1_024;

impl OriginMap {
    /// The policy of this origin; a new one if there is none.
    pub(super) fn get_or_insert(
        &mut self,
        origin: OriginKey<'_>,
        make: impl FnOnce(&str) -> Policy,
    ) -> Arc<Policy> {
        self.turn += 1;
        origin.write_to(&mut self.name);
        if let Some(entry) = self.policies.get_mut(self.name.as_str()) {
            entry.used = self.turn;
            return Arc::clone(&entry.policy);
        }
        while self.policies.len() >= MAX_IDLE && self.forget() {}
        let policy = Arc::new(make(&self.name));
        let entry = Entry { policy: Arc::clone(&policy), used: self.turn };
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
    /// Origins in use stay, however many they are: their permits would be lost, and each belongs to a
    /// request that takes far more memory than its policy.
    fn forget(&mut self) -> bool {
        let idle = self.policies.iter_mut().filter_map(|(name, entry)| entry.idle_since(name));
        let Some((_, oldest)) = idle.min() else { return false };
        let oldest = oldest.to_owned();
        self.policies.remove(oldest.as_str()).is_some()
    }
}

impl Entry {
    /// The turn of its last use, if no request of it is being admitted, in the queue or in flight.
    fn idle_since<'a>(&mut self, name: &'a str) -> Option<(u64, &'a str)> {
        // A request that is being admitted or in the queue has a reference to the policy.
        let policy = Arc::get_mut(&mut self.policy)?;
        (policy.limiter.snapshot().in_flight == 0).then_some((self.used, name))
    }
}
