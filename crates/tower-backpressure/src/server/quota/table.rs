//! The usage of all keys: a bounded map in shards.
//!
//! A key takes 8 bytes, 16 more for each window, and 8 more where there are several plans or requests in flight count, in a
//! table that is at least three quarters full. Keys are told apart by 64 bits of a keyed hash: among a million keys the chance that any two share a quota is 3 in 10⁸, and no caller can look for
//! such a pair, as the key of the hash is drawn for each table.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backpressure_core::{MAX_WINDOWS, QuotaDecision, QuotaUsage, Standing, TakenTokens, Timestamp};

use super::key::QuotaKey;
use super::plan::Plan;

mod shard;
mod slots;

use self::shard::Shard;

/// The usage of all keys of one layer.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Padded]>,
    hasher: RandomState,
    evicted: Evictions,
}

/// A shard on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

/// A key in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

/// What was decided, and how the key stands after it.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) decision: QuotaDecision,
    pub(super) usage: [QuotaUsage; MAX_WINDOWS],
    pub(super) in_flight: u32,
    pub(super) plan: Arc<Plan>,
    /// What is left in each window, where the usage does not say it: of a shared quota.
    pub(super) left: Option<[u64; MAX_WINDOWS]>,
    /// Where the tokens were taken.
    pub(super) taken_from: TakenFrom,
    /// Whether it was rejected only because the store of a shared quota has not answered yet.
    pub(super) awaits_store: bool,
    /// How another key was forgotten for this one.
    pub(super) eviction: Option<Eviction>,
}

/// Where the tokens of a request were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TakenFrom {
    /// The table, or the lease of a shared quota.
    #[default]
    Quota,
    /// This replica's share of a quota whose store cannot be asked.
    Share,
    /// Nowhere: a quota whose store cannot be asked is open.
    Nothing,
}

/// Keys that were forgotten to make room for others.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    /// Their buckets were full: nothing was lost.
    full: AtomicU64,
    /// They had used tokens, which were forgiven.
    early: AtomicU64,
}

/// How a key was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    Full,
    Early,
}

/// Two requests at once meet at a shard with a chance of 1 %. Each shard is moved as a whole when it grows: with a
/// million keys, eight thousand of them, in less than 0.2 ms.
const SHARDS: usize = 128;

/// Any odd number with half of its bits set.
const STANDS_FOR_OTHERS: u64 = 0x9E37_79B9_7F4A_7C15;

impl Decided {
    pub(super) const fn new(
        decision: QuotaDecision,
        usage: [QuotaUsage; MAX_WINDOWS],
        in_flight: u32,
        plan: Arc<Plan>,
    ) -> Self {
        let taken_from = TakenFrom::Quota;
        Self {
            decision,
            usage,
            in_flight,
            plan,
            left: None,
            taken_from,
            awaits_store: false,
            eviction: None,
        }
    }

    /// How each window stands, in their order.
    pub(super) fn standing(&self, now: Timestamp) -> Vec<Standing> {
        let quota = &self.plan.quota;
        match self.left {
            None => quota.standing(&self.usage, now).collect(),
            Some(left) => {
                quota.windows().zip(left).map(|(_, left)| Standing::new(left, None)).collect()
            }
        }
    }
}

impl Table {
    pub(super) fn new(plan: Plan, max_keys: usize) -> Self {
        let shard = || Padded(Mutex::new(Shard::new(plan.twin(), max_keys.div_ceil(SHARDS))));
        let shards = (0..SHARDS).map(|_| shard()).collect();
        Self { shards, hasher: RandomState::new(), evicted: Evictions::default() }
    }

    pub(super) fn slot(&self, key: &QuotaKey) -> Slot {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.as_bytes());
        // A digest of a long key differs from a short key that has the same bytes.
        let hash =
            hasher.finish() ^ u64::from(key.stands_for_others()).wrapping_mul(STANDS_FOR_OTHERS);
        // Zero stands for a free slot.
        Slot(hash.max(1))
    }

    /// Decides on a request for this key under this plan, and takes its tokens.
    pub(super) fn decide(&self, slot: Slot, plan: u32, cost: u64, now: Timestamp) -> Decided {
        let mut shard = self.shard(slot);
        let (position, eviction) = shard.find_or_insert(slot.0, plan, now);
        match eviction {
            Some(Eviction::Full) => self.evicted.full.fetch_add(1, Ordering::Relaxed),
            Some(Eviction::Early) => self.evicted.early.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        Decided { eviction, ..shard.decide(position, plan, cost, now) }
    }

    /// A request of this key has ended.
    pub(super) fn leave(&self, slot: Slot) {
        self.shard(slot).leave(slot.0);
    }

    /// A request that reserved some tokens has cost others. A key that is forgotten owes nothing.
    pub(super) fn settle(&self, slot: Slot, taken: &mut TakenTokens, actual: u64, now: Timestamp) {
        let mut shard = self.shard(slot);
        if let Some(position) = shard.find(slot.0) {
            shard.settle(position, taken, actual, now);
        }
    }

    /// How a key stands; `None`: its buckets are full.
    pub(super) fn peek(&self, slot: Slot) -> Option<Decided> {
        let shard = self.shard(slot);
        shard.find(slot.0).map(|position| shard.describe(position))
    }

    /// Forgets what a key has used.
    pub(super) fn forget(&self, slot: Slot) {
        self.shard(slot).forget(slot.0);
    }

    /// The plan at this position; the first is the default.
    pub(super) fn plan(&self, plan: u32) -> Option<Arc<Plan>> {
        lock(&self.shards[0]).plan(plan)
    }

    /// The position of the plan with this name.
    pub(super) fn plan_named(&self, name: &str) -> Option<u32> {
        lock(&self.shards[0]).plan_named(name)
    }

    /// Replaces or adds the plan at this position, shard by shard. Keys keep what they have used.
    pub(super) fn set_plan(&self, position: u32, plan: &Arc<Plan>, now: impl Fn() -> Timestamp) {
        for shard in &self.shards {
            lock(shard).set_plan(position, &plan.twin(), now());
        }
    }

    pub(super) fn max_keys(&self) -> usize {
        lock(&self.shards[0]).max() * SHARDS
    }

    pub(super) fn set_max_keys(&self, max_keys: usize) {
        for shard in &self.shards {
            lock(shard).set_max(max_keys.div_ceil(SHARDS));
        }
    }

    /// Keys in the table.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Keys forgotten with full buckets, and earlier than that.
    pub(super) fn evicted(&self) -> (u64, u64) {
        let Evictions { full, early } = &self.evicted;
        (full.load(Ordering::Relaxed), early.load(Ordering::Relaxed))
    }

    fn shard(&self, slot: Slot) -> MutexGuard<'_, Shard> {
        // The upper bits are the place in the shard.
        lock(&self.shards[slot.0 as usize % SHARDS])
    }
}

fn lock(shard: &Padded) -> MutexGuard<'_, Shard> {
    // Nothing panics under these locks.
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use backpressure_core::Quota;
    use std::time::Duration;

    fn table(quota: Quota, max_keys: usize) -> Table {
        Table::new(Plan::new("layer", "default", quota), max_keys)
    }

    fn take(table: &Table, key: u64, now: Timestamp) -> bool {
        let decided = table.decide(table.slot(&key.into()), 0, 1, now);
        decided.decision == QuotaDecision::Admit
    }

    #[test]
    fn each_of_many_keys_has_a_quota_of_its_own() {
        let (table, now) = (table(Quota::per_hour(2), 1_000_000), Timestamp::ZERO);
        for round in 0..3 {
            for key in 0..20_000 {
                assert_eq!(take(&table, key, now), round < 2, "{key}");
            }
        }
        assert_eq!((table.len(), table.evicted()), (20_000, (0, 0)));
        table.forget(table.slot(&7.into()));
        assert!(take(&table, 7, now));
        for key in 0..20_000 {
            table.forget(table.slot(&key.into()));
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_flood_of_keys_stays_in_its_bounds_and_a_debtor_stays_known() {
        let (table, mut now) = (table(Quota::per_second(100), 12_800), Timestamp::ZERO);
        let spent = std::cell::Cell::new(0);
        let spend = |now| {
            while take(&table, u64::MAX, now) {
                spent.set(spent.get() + 1);
            }
        };
        for key in 0..1_000_000 {
            if key % 100 == 0 {
                // The debtor comes back all the time, and has used all it has.
                spend(now);
            }
            assert!(take(&table, key, now));
            now = now + Duration::from_nanos(100);
        }
        spend(now);
        // Its burst, and what came back in 0.1 s.
        assert_eq!(spent.get(), 110);
        assert!(table.len() <= 12_800 + SHARDS, "{}", table.len());
        let (full, early) = table.evicted();
        assert!(full + early >= 980_000, "{full} {early}");
    }

    #[test]
    fn keys_that_are_full_again_are_forgotten_first() {
        let (table, start) = (table(Quota::per_second(1), 12_800), Timestamp::ZERO);
        (0..9_600).for_each(|key| assert!(take(&table, key, start)));
        let later = start + Duration::from_secs(1);
        (10_000..14_800).for_each(|key| assert!(take(&table, key, later)));
        // Of eight keys that are looked at, none may be full in a shard that got few of the old ones.
        let (full, early) = table.evicted();
        assert!(full > 1_000 && 100 * early < full, "{full} full, {early} early");
    }

    #[test]
    fn a_change_of_plan_keeps_what_was_used_and_adds_windows() {
        let (table, now) = (table(Quota::per_hour(10), 1_000), Timestamp::ZERO);
        for key in 0..100 {
            (0..key % 8).for_each(|_| assert!(take(&table, key, now)));
        }
        let both = Quota::per_second(100).and(Quota::per_hour(20));
        table.set_plan(0, &Arc::new(Plan::new("layer", "default", both)), || now);
        for key in 1..100 {
            let left = (0..50).filter(|_| take(&table, key, now)).count() as u64;
            assert_eq!(left, 20 - key % 8, "{key}");
        }
        assert!(take(&table, 1_000, now));
    }

    #[test]
    fn a_key_that_moves_to_another_plan_takes_along_what_it_used() {
        let (table, now) = (table(Quota::per_hour(10), 1_000), Timestamp::ZERO);
        table.set_plan(1, &Arc::new(Plan::new("layer", "large", Quota::per_hour(100))), || now);
        let slot = table.slot(&"batch".into());
        let takes = |plan| {
            (0..200)
                .filter(|_| table.decide(slot, plan, 1, now).decision == QuotaDecision::Admit)
                .count()
        };
        assert_eq!((takes(0), takes(1), takes(0), takes(1)), (10, 90, 0, 0));
        assert_eq!(table.plan_named("large"), Some(1));
        assert_eq!(table.plan_named("small"), None);
    }

    #[test]
    fn a_key_with_a_request_in_flight_is_never_forgotten() {
        let table = table(Quota::concurrent(1).and(Quota::per_second(1)), 1);
        let (held, now) = (table.slot(&1.into()), Timestamp::ZERO);
        assert_eq!(table.decide(held, 0, 1, now).decision, QuotaDecision::Admit);
        let later = now + Duration::from_secs(100);
        (2..100_000).for_each(|key| drop(table.decide(table.slot(&key.into()), 0, 1, later)));
        assert!(matches!(table.decide(held, 0, 1, later).decision, QuotaDecision::Reject(_)));
        table.leave(held);
        assert_eq!(table.decide(held, 0, 1, later).decision, QuotaDecision::Admit);
    }

    #[test]
    fn many_threads_take_exactly_what_there_is_while_keys_come_and_plans_change() {
        const THREADS: u64 = 8;
        const BURST: u64 = 500;
        let quota = || Quota::per_hour(BURST).and(Quota::per_day(10 * BURST));
        let (table, now) = (table(quota(), 1_000_000), Timestamp::ZERO);
        let taken: [AtomicU64; 4] = Default::default();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (table, taken) = (&table, &taken);
                scope.spawn(move || {
                    for round in 0..4 * BURST {
                        // Four keys that all threads use, and one that no other does.
                        let key = round % 4;
                        taken[key as usize]
                            .fetch_add(u64::from(take(table, key, now)), Ordering::Relaxed);
                        assert!(take(table, (thread << 32) + round + 4, now));
                        if thread == 0 && round % 200 == 0 {
                            table.set_plan(
                                0,
                                &Arc::new(Plan::new("layer", "default", quota())),
                                || now,
                            );
                        }
                    }
                });
            }
        });
        assert_eq!(taken.map(AtomicU64::into_inner), [BURST; 4]);
        assert_eq!(table.len() as u64, 4 + THREADS * 4 * BURST);
    }
}
