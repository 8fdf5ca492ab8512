//! The order in which queued requests run: by priority, then those first that come back when told.

use std::time::Duration;

use crate::ewma::Ewma;
use crate::priority::Priority;
use crate::request_info::RequestInfo;
use crate::time::Timestamp;

/// The rank of a request: its priority, and within a priority returning requests before new ones.
///
/// A request that comes back when it was told to has been rejected before, and a permit was promised to
/// it. New requests of its priority give way to it; requests of a higher priority do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank {
    // The order of the fields is the order of the queue.
    priority: Priority,
    returning: bool,
}

/// The place of a request among those of its tenant: of the queued requests the highest level runs first, and the
/// lowest gives way first.
///
/// Where a tenant asks for more than it gets, its requests have to be cut somewhere. A cut at random rejects a part
/// of each task, and a task that makes five calls at 70 % each succeeds in one of six cases. A cut by level is
/// between tasks, so that seven of ten succeed. The levels are drawn anew after [`LEVEL_PERIOD`], so that no user is
/// below the cut for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Level(u8);

/// How long a task keeps its level: longer than a task of several calls, shorter than a user's patience
/// with a service that fails. It is the time for which a return ticket is valid as well.
const LEVEL_PERIOD: Duration = Duration::from_secs(10);

impl Level {
    /// Of a request without a task, and of one that is queued while there is no overload: first come,
    /// first served.
    pub(crate) const HIGHEST: Self = Self(u8::MAX);
    pub(crate) const LOWEST: Self = Self(0);

    /// The level of a task at this time.
    pub(crate) fn of(task: u64, now: Timestamp) -> Self {
        let period = (now.since(Timestamp::ZERO).as_nanos() / LEVEL_PERIOD.as_nanos()) as u64;
        // The finaliser of SplitMix64: each bit of the input changes half of the bits of the result.
        let mut mixed = task ^ period.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        let drawn = (mixed ^ mixed >> 31) >> (u64::BITS - u8::BITS);
        Self((drawn as u8).min(u8::MAX - 1))
    }
}

/// Number of ranks: four priorities, each with new and with returning requests.
pub(crate) const RANKS: usize = 8;

impl Rank {
    pub(crate) const fn of(info: &RequestInfo) -> Self {
        Self { priority: info.priority, returning: info.returning }
    }

    /// The rank of a request where tenants share: whether it comes back when told counts within its tenant, as a
    /// tenant that asks for too much would otherwise pass all others with what it was refused before.
    pub(crate) const fn shared(info: &RequestInfo) -> Self {
        Self { priority: info.priority, returning: false }
    }

    /// The priority of the rank with this index, if tenants share in it.
    pub(crate) const fn shared_priority(index: usize) -> Option<Priority> {
        match index {
            0 => Some(Priority::Sheddable),
            2 => Some(Priority::Deferrable),
            4 => Some(Priority::Normal),
            6 => Some(Priority::Critical),
            _ => None,
        }
    }

    /// Whether the request comes back when it was told to.
    pub(crate) const fn is_returning(self) -> bool {
        self.returning
    }

    pub(crate) const fn priority(self) -> Priority {
        self.priority
    }

    /// 0 for the rank that gives way first.
    pub(crate) const fn index(self) -> usize {
        2 * self.priority as usize + self.returning as usize
    }
}

/// The share of each rank in recent demand.
///
/// Under strict priority a rank competes only with its own requests and with those above it. Whether it
/// is overloaded depends on that share of the load, not on all of it.
#[derive(Debug)]
pub(crate) struct DemandMix {
    shares: [Ewma; RANKS],
}

/// Time constant, in arrivals, of the shares. A share near the edge of overload is known to ±5 % then. A
/// fourth of it doubles that error; four times as much would notice another mix only after seconds, at a
/// few hundred requests a second.
const MIX_ARRIVALS: u32 = 512;

/// Standard errors of a share that are in doubt: a class at 0.9 of the capacity is cut once in thousands of
/// arrivals with none, and not at all with two.
const DOUBTFUL_ERRORS: f64 = 2.0;

impl DemandMix {
    pub(crate) const fn new() -> Self {
        Self { shares: [Ewma::new(MIX_ARRIVALS); RANKS] }
    }

    pub(crate) fn record(&mut self, rank: Rank) {
        for (index, share) in self.shares.iter_mut().enumerate() {
            share.add(f64::from(u8::from(index == rank.index())));
        }
    }

    /// The share of the ranks from `index` on that is beyond doubt; exactly 1 where there is no demand of a
    /// lower rank.
    ///
    /// A high rank whose demand is just below the capacity must not be cut since chance had it arrive more
    /// often for a moment: the share is less by two of its standard errors.
    pub(crate) fn share_from(&self, index: usize) -> f64 {
        let sum = |shares: &[Ewma]| shares.iter().map(Ewma::mean).sum::<f64>();
        let all = sum(&self.shares);
        let share = if all > 0.0 { 1.0 - sum(&self.shares[..index]) / all } else { 1.0 };
        let error = (share * (1.0 - share) / f64::from(MIX_ARRIVALS)).max(0.0).sqrt();
        (share - DOUBTFUL_ERRORS * error).max(0.0)
    }
}

/// How long requests of lower ranks are rejected because one of a higher rank was.
///
/// A rejected request would have been queued for some time. A request of a lower rank that took a permit
/// within that time would take it from the rejected one.
#[derive(Debug, Default)]
pub(crate) struct PriorityHold {
    /// By rank: until when the ranks below it are held.
    until: [Option<Timestamp>; RANKS],
    /// The index of the lowest rank that has arrived so far.
    lowest_seen: Option<usize>,
}

impl PriorityHold {
    /// A request of this rank arrives.
    pub(crate) fn arrived(&mut self, rank: Rank) {
        let lowest = self.lowest_seen.map_or(rank.index(), |lowest| lowest.min(rank.index()));
        self.lowest_seen = Some(lowest);
    }

    /// Holds the ranks below `index` until a request of that rank, rejected now, would have run.
    pub(crate) fn hold_below(&mut self, index: usize, until: Timestamp) {
        self.until[index] = self.until[index].max(Some(until));
    }

    /// Whether a request of this rank has to leave free permits to a higher one.
    pub(crate) fn holds(&self, rank: Rank, now: Timestamp) -> bool {
        self.until[rank.index() + 1..].iter().any(|&until| until >= Some(now))
    }

    /// Ends the holds that are over at `now`.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        for until in &mut self.until {
            *until = until.filter(|&until| until >= now);
        }
    }

    /// Whether some rank that arrives here is held, as of the last [`expire`](Self::expire).
    pub(crate) fn is_active(&self) -> bool {
        let lowest = self.lowest_seen.unwrap_or(RANKS);
        self.until.iter().skip(lowest.saturating_add(1)).any(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(priority: Priority) -> Rank {
        Rank::of(&RequestInfo::default().priority(priority))
    }

    #[test]
    fn a_higher_priority_goes_before_a_returning_request() {
        let returning = Rank::of(&RequestInfo::default().returning(true));
        assert!(rank(Priority::Normal) < returning && returning < rank(Priority::Critical));
        let order: Vec<_> = [
            rank(Priority::Sheddable),
            rank(Priority::Normal),
            returning,
            rank(Priority::Critical),
        ]
        .map(Rank::index)
        .into();
        assert_eq!(order, [0, 4, 5, 6]);
    }

    #[test]
    fn levels_are_spread_evenly_and_drawn_anew_each_period() {
        let at = |period: u32| Timestamp::ZERO + period * LEVEL_PERIOD;
        let mean = |period| {
            let levels = (0..1_000).map(|task| f64::from(Level::of(task, at(period)).0));
            levels.sum::<f64>() / 1_000.0
        };
        for period in 0..10 {
            assert!((117.0..137.0).contains(&mean(period)), "{}", mean(period));
            assert!(Level::of(u64::MAX, at(period)) < Level::HIGHEST);
        }
        let kept = (0..1_000).filter(|&task| Level::of(task, at(3)) == Level::of(task, at(4)));
        assert!(kept.count() < 20);
        let later = at(3) + Duration::from_secs(9);
        assert_eq!(Level::of(7, at(3)), Level::of(7, later));
    }

    #[test]
    fn the_share_from_a_rank_on_is_its_own_and_that_of_the_ranks_above() {
        let mut mix = DemandMix::new();
        let (normal, sheddable) = (rank(Priority::Normal), rank(Priority::Sheddable));
        for _ in 0..1_000 {
            mix.record(normal);
            (0..3).for_each(|_| mix.record(sheddable));
        }
        assert!((mix.share_from(sheddable.index()) - 1.0).abs() < f64::EPSILON);
        // A fourth, less two of its standard errors.
        assert!((mix.share_from(normal.index()) - 0.21).abs() < 0.01);
        assert!(mix.share_from(rank(Priority::Critical).index()) < 0.01);
    }

    #[test]
    fn a_rejection_holds_lower_ranks_only_and_only_for_its_time() {
        let at = |nanos| Timestamp::from_nanos(nanos);
        let mut hold = PriorityHold::default();
        hold.arrived(rank(Priority::Normal));
        hold.hold_below(rank(Priority::Normal).index(), at(10));
        assert!(!hold.is_active(), "no lower rank has arrived");
        hold.arrived(rank(Priority::Sheddable));
        assert!(hold.is_active());
        assert!(hold.holds(rank(Priority::Sheddable), at(10)));
        assert!(!hold.holds(rank(Priority::Sheddable), at(11)));
        assert!(!hold.holds(rank(Priority::Normal), at(10)));
        hold.expire(at(11));
        assert!(!hold.is_active());
    }
}
