//! A balance for each origin, in a table of fixed size.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, OnceLock};

use backpressure_core::RetryBudget as Rule;

use super::BudgetSnapshot;
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
    first: OnceLock<First>,
}

/// The origin of the first request, as it was spelled. Most clients talk to one origin, and find it again without hashing
/// its name.
struct First {
    scheme: Box<str>,
    authority: Box<str>,
    balance: Arc<Balance>,
}

/// Longer spellings are hashed each time, as requests choose them.
const MAX_SPELLING_BYTES: usize = 256;

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
        Self { rule, key: RandomState::new(), slots, first: OnceLock::new() }
    }

    /// The balance of an origin. Where all slots that are tried belong to others, it is that of the first.
    pub(super) fn of(&self, scheme: &str, authority: &str) -> Arc<Balance> {
        let first = self.first.get().filter(|first| first.is(scheme, authority));
        first.map_or_else(|| self.find(scheme, authority), |first| Arc::clone(&first.balance))
    }

    fn find(&self, scheme: &str, authority: &str) -> Arc<Balance> {
        let hash = self.hash(scheme, authority);
        let first = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
        let tried = || (first..first + TRIED).map(|slot| &self.slots[slot % SLOTS]);
        let entry = || (hash, Arc::new(Balance::new(self.rule.clone())));
        let own = tried().map(|slot| slot.get_or_init(entry)).find(|(owner, _)| *owner == hash);
        let (_, balance) = own.unwrap_or_else(|| self.slots[first].get_or_init(entry));
        if authority.len() <= MAX_SPELLING_BYTES {
            self.first.get_or_init(|| First::new(scheme, authority, balance));
        }
        Arc::clone(balance)
    }

    /// The balance that is nearest to its end, with what all of them together have granted and denied; `None` before the
    /// first request.
    pub(super) fn snapshot(&self) -> Option<BudgetSnapshot> {
        let used = self.slots.iter().filter_map(OnceLock::get);
        used.map(|(_, balance)| balance.snapshot()).reduce(|one, other| {
            let lowest = if other.balance < one.balance { other } else { one };
            let (granted, denied) = (one.granted + other.granted, one.denied + other.denied);
            BudgetSnapshot { granted, denied, ..lowest }
        })
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

impl First {
    fn new(scheme: &str, authority: &str, balance: &Arc<Balance>) -> Self {
        Self { scheme: scheme.into(), authority: authority.into(), balance: Arc::clone(balance) }
    }

    fn is(&self, scheme: &str, authority: &str) -> bool {
        *self.authority == *authority && *self.scheme == *scheme
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
    fn a_snapshot_shows_the_lowest_balance_and_the_sum_of_what_was_granted() {
        let balances = OriginBalances::new(Rule::default());
        assert_eq!(balances.snapshot(), None);
        for (origin, retries) in [("a", 2), ("b", 5), ("c", 0)] {
            let balance = balances.of("https", origin);
            (0..retries).for_each(|_| assert!(balance.withdraw(false).is_some()));
        }
        let snapshot = balances.snapshot().expect("three are used");
        assert_eq!((snapshot.balance, snapshot.granted, snapshot.denied), (5.0, 7, 0));
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
