//! Which tenants are known: a memory of bounded size.

use std::time::Duration;

use super::numbers::Numbers;
use crate::time::Timestamp;

/// Remembers the tenants that were served within the last hour or two, and the names that were seen within the
/// last second or two.
///
/// A caller that can invent names would have a fair share for each of them. So a name has a share of its own once it
/// is known: a request of it was served, or it is seen again in a later second. Names that are new share the share
/// of one tenant. A flood of names that do not come again competes as one tenant; a real one soon leaves the
/// newcomers. A name that comes again and again is a tenant for all that can be told: tenants have to be verified.
#[derive(Debug)]
pub(super) struct Known {
    served: Generations<SERVED_SHARDS>,
    seen: Generations<1>,
}

/// A tenant is remembered for one to two of these. Shorter, and a customer that comes once an hour is new each
/// time; longer, and tenants of the past take memory.
const SERVED_PERIOD: Duration = Duration::from_secs(3_600);
/// A period ends early with this many tenants: two periods take some 32 bytes for each.
const MAX_SERVED: usize = 1_000_000;
/// A set that grows copies itself: one of 64 parts of a million tenants takes a third of a millisecond, and the
/// whole would take twenty under the limiter's lock.
const SERVED_SHARDS: usize = 64;
/// How long a name that comes once is remembered. It is a tenant if it comes in a later period.
const SEEN_PERIOD: Duration = Duration::from_secs(1);
/// A period ends early with this many names: two megabytes for both. Beyond 65 000 new names a second, a real tenant
/// among them has to be served once to become known.
const MAX_SEEN: usize = 65_536;

impl Known {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            served: Generations::new(SERVED_PERIOD, MAX_SERVED, now),
            seen: Generations::new(SEEN_PERIOD, MAX_SEEN, now),
        }
    }

    /// Whether a tenant of which a request arrives is known. A known one that comes stays known.
    pub(super) fn meet(&mut self, tenant: u64, now: Timestamp) -> bool {
        if self.served.refresh(tenant, now) {
            return true;
        }
        self.seen.turn(now);
        let came_before = self.seen.contained_before(tenant);
        match came_before {
            true => self.serve(tenant, now),
            false => self.seen.insert(tenant),
        }
        came_before
    }

    /// A request of a tenant was served.
    pub(super) fn serve(&mut self, tenant: u64, now: Timestamp) {
        self.served.turn(now);
        self.served.insert(tenant);
    }
}

/// A set that forgets: the present period and the one before, in `N` parts each.
#[derive(Debug)]
struct Generations<const N: usize> {
    current: [Numbers; N],
    previous: [Numbers; N],
    count: usize,
    since: Timestamp,
    period: Duration,
    max: usize,
}

impl<const N: usize> Generations<N> {
    fn new(period: Duration, max: usize, now: Timestamp) -> Self {
        let [current, previous] = [(), ()].map(|()| std::array::from_fn(|_| Numbers::default()));
        Self { current, previous, count: 0, since: now, period, max }
    }

    /// Whether a number is in the set; if so, it is in the present period from now on.
    fn refresh(&mut self, number: u64, now: Timestamp) -> bool {
        self.turn(now);
        let part = part::<N>(number);
        if self.current[part].contains(number) {
            return true;
        }
        let is_known = self.previous[part].contains(number);
        if is_known {
            self.insert(number);
        }
        is_known
    }

    fn contained_before(&self, number: u64) -> bool {
        self.previous[part::<N>(number)].contains(number)
    }

    fn insert(&mut self, number: u64) {
        self.count += usize::from(self.current[part::<N>(number)].insert(number));
    }

    /// Begins a new period if the present one is over or full.
    fn turn(&mut self, now: Timestamp) {
        let age = now.since(self.since);
        if age < self.period && self.count < self.max {
            return;
        }
        std::mem::swap(&mut self.previous, &mut self.current);
        for part in &mut self.current {
            // A new set, as clearing the old one would keep the memory that a flood has taken.
            *part = Numbers::default();
        }
        if age >= 2 * self.period {
            self.previous.fill_with(Numbers::default);
        }
        (self.since, self.count) = (now, 0);
    }
}

/// The upper bits: the number is a hash, and the sets use its hash again.
const fn part<const N: usize>(number: u64) -> usize {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % N
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_known_for_one_to_two_hours_after_it_was_served() {
        let mut known = Known::new(Timestamp::ZERO);
        let at = |hours: u32| Timestamp::ZERO + hours * SERVED_PERIOD;
        known.serve(7, at(0));
        assert!(known.meet(7, at(0)) && !known.meet(8, at(0)));
        known.serve(8, at(1));
        assert!(known.meet(8, at(1)), "7 does not come in the second hour");
        known.serve(9, at(2));
        assert!(!known.meet(7, at(2)) && known.meet(8, at(2)) && known.meet(9, at(2)));
        assert!(known.meet(8, at(3)), "it came in the third hour");
        known.serve(1, at(10));
        assert!(!known.meet(9, at(10)), "all of it was long ago");
    }

    #[test]
    fn a_name_becomes_known_when_it_comes_again_in_another_second() {
        let mut known = Known::new(Timestamp::ZERO);
        let at = |millis| Timestamp::ZERO + Duration::from_millis(millis);
        assert!(!known.meet(7, at(0)) && !known.meet(7, at(900)), "still the same second");
        assert!(known.meet(7, at(1_100)) && known.meet(7, at(60_000)));
        assert!(!known.meet(8, at(60_000)) && !known.meet(8, at(63_000)), "too long ago");
    }

    #[test]
    fn ten_million_names_take_bounded_memory_and_stay_unknown() {
        let mut known = Known::new(Timestamp::ZERO);
        for name in 0..10_000_000u64 {
            let now = Timestamp::from_nanos(name * 1_000);
            assert!(!known.meet(name, now));
        }
        assert!(known.seen.current[0].capacity() <= 2 * MAX_SEEN);
        assert!(known.seen.previous[0].capacity() <= 2 * MAX_SEEN);
        assert_eq!(known.served.count, 0);
    }
}
