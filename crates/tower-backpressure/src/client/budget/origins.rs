//! A balance for each origin, in a table of fixed size.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, OnceLock};

use backpressure_core::RetryBudget as Rule;

use super::balance::Balance;

/// A table with open addressing, without a lock and without removal.
///
/// The name of an origin is known here by a keyed hash of 64 bits, so that an attacker cannot choose names
/// that meet. Two honest names of a million meet with a probability of one in 10⁷, and then share a
/// balance.
pub(super) struct OriginBalances {
    rule: Rule,
    key: RandomState,
    slots: Box<[OnceLock<Slot>]>,
}

/// The hash of an origin, and its balance.
type Slot = (u64, Arc<Balance>);

/// Balances, about 200 bytes each once they are used. More origins than that have no need of precision.
const SLOTS: usize = 1024;
/// Slots that are tried for an origin. At most one slot in this many is wasted; longer runs make a full table
/// slow.
const TRIED: usize = 16;

impl OriginBalances {
    pub(super) fn new(rule: Rule) -> Self {
        let slots = (0..SLOTS).map(|_| OnceLock::new()).collect();
        Self { rule, key: RandomState::new(), slots }
    }

    /// The balance of an origin. Where all slots that are tried belong to others, it is that of the first.
    pub(super) fn of(&self, scheme: &str, authority: &str) -> Arc<Balance> {
        let hash = self.hash(scheme, authority);
        let first = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
        let tried = || (first..first + TRIED).map(|slot| &self.slots[slot % SLOTS]);
        let entry = || (hash, Arc::new(Balance::new(self.rule.clone())));
        let own = tried().map(|slot| slot.get_or_init(entry)).find(|(owner, _)| *owner == hash);
        let (_, balance) = own.unwrap_or_else(|| self.slots[first].get_or_init(entry));
        Arc::clone(balance)
    }

    /// Names of hosts and schemes are compared without case, and without the name of a user.
    fn hash(&self, scheme: &str, authority: &str) -> u64 {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let mut hasher = self.key.build_hasher();
        for byte in scheme.bytes().chain([b':']).chain(host.bytes()) {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        hasher.finish()
    }
}

impl fmt::Debug for OriginBalances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.slots.iter().filter(|slot| slot.get().is_some()).count();
        f.debug_struct("OriginBalances").field("used", &used).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_many_origins_has_one_balance_of_its_own() {
        let balances = OriginBalances::new(Rule::default());
        let of = |name: usize| balances.of("https", &format!("host-{name}"));
        let first: Vec<_> = (0..200).map(of).collect();
        for (name, balance) in first.iter().enumerate() {
            assert!(Arc::ptr_eq(balance, &of(name)));
            assert!(!first[..name].iter().any(|other| Arc::ptr_eq(balance, other)), "{name}");
        }
        assert!(Arc::ptr_eq(&first[7], &balances.of("HTTPS", "me@HOST-7")));
    }

    #[test]
    fn a_full_table_shares_its_balances_and_grows_no_further() {
        let balances = OriginBalances::new(Rule::default());
        for name in 0..100_000 {
            let _ = balances.of("https", &format!("host-{name}"));
        }
        assert!(balances.slots.iter().all(|slot| slot.get().is_some()));
    }
}
