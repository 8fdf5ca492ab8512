//! The origins there are gates for.

use std::collections::HashMap;
use std::sync::Arc;

use super::name::Origin;
use crate::admission::Shared;

/// A gate for each origin of late.
#[derive(Debug, Default)]
pub(super) struct Known {
    gates: HashMap<Box<str>, Entry>,
    /// Who was asked for last: kept for its memory, so that asking allocates nothing.
    name: String,
    /// How often somebody was asked for.
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    used: u64,
}

/// Idle origins that are remembered. Far more than a service depends on, and at some 2 KiB each still
/// small beside the connections; to a crawler, who has no end of them, an origin it left that
/// long ago is new.
pub(super) const MOST: usize = 1_024;

impl Known {
    /// What stands in front of this origin; made if nothing does yet.
    pub(super) fn find(
        &mut self,
        origin: Origin<'_>,
        make: impl FnOnce(&str) -> Shared,
    ) -> Arc<Shared> {
        self.turn += 1;
        origin.spell(&mut self.name);
        if let Some(entry) = self.gates.get_mut(self.name.as_str()) {
            entry.used = self.turn;
            return Arc::clone(&entry.shared);
        }
        while self.gates.len() >= MOST && self.forget() {}
        let shared = Arc::new(make(&self.name));
        let entry = Entry { shared: Arc::clone(&shared), used: self.turn };
        self.gates.insert(self.name.as_str().into(), entry);
        shared
    }

    /// The same, if somebody does.
    pub(super) fn look(&mut self, origin: Origin<'_>) -> Option<&Shared> {
        origin.spell(&mut self.name);
        self.gates.get(self.name.as_str()).map(|entry| entry.shared.as_ref())
    }

    /// Forgets the idle one that was not used for the longest; false if none is idle.
    ///
    /// Those in use stay, however many: their count would be lost, and each stands for a request
    /// that takes far more room than its gate.
    fn forget(&mut self) -> bool {
        let idle = self.gates.iter_mut().filter_map(|(name, entry)| entry.idle_since(name));
        let Some((_, longest)) = idle.min() else { return false };
        let name = longest.to_owned();
        self.gates.remove(name.as_str()).is_some()
    }
}

impl Entry {
    /// When it was used last, if nobody is on the way in, waits, or is in flight.
    fn idle_since<'a>(&mut self, name: &'a str) -> Option<(u64, &'a str)> {
        // Whoever enters or waits has a share of it; whoever is in has a place.
        let shared = Arc::get_mut(&mut self.shared)?;
        (shared.gate.snapshot().in_flight == 0).then_some((self.used, name))
    }
}
