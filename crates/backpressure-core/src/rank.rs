//! The order in which waiting requests run: by class, then by whether they come back when told.

use crate::priority::Priority;
use crate::request_info::RequestInfo;
use crate::time::Timestamp;

/// The rank of a request: its class, and within the class returning requests before new ones.
///
/// A request that comes back when it was told to has already been refused once, and a place was
/// promised to it. New requests of its class give way to it; requests of a higher class do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rank {
    // The order of the fields is the order of the queue.
    priority: Priority,
    returning: bool,
}

/// How many ranks there are: four classes, each with returning and with new requests.
pub(crate) const RANKS: usize = 8;

impl Rank {
    pub(crate) const fn of(info: &RequestInfo) -> Self {
        Self { priority: info.priority, returning: info.returning }
    }

    /// Whether it comes back when it was told to.
    pub(crate) const fn is_returning(self) -> bool {
        self.returning
    }

    /// 0 for the rank that gives way first.
    pub(crate) const fn index(self) -> usize {
        2 * self.priority as usize + self.returning as usize
    }
}

/// The share of recent demand that each rank makes.
///
/// Under strict priority a rank competes only with its own requests and with those above it. Whether
/// it is overloaded depends on that share of the load, not on the whole.
#[derive(Debug, Default)]
pub(crate) struct DemandMix {
    came: [f64; RANKS],
}

/// Number of arrivals after which an old arrival has lost all but 1/e of its weight. A share near the
/// edge of overload is then known to ±5 %; a fourth of it doubles that, four times as much would need
/// seconds to notice another mix at a few hundred requests a second.
const MIX_MEMORY: f64 = 512.0;

impl DemandMix {
    pub(crate) fn arrived(&mut self, rank: Rank) {
        self.came.iter_mut().for_each(|came| *came *= 1.0 - 1.0 / MIX_MEMORY);
        self.came[rank.index()] += 1.0;
    }

    /// The share of demand of the ranks from `index` on; exactly 1 where no rank below it is asked for.
    pub(crate) fn share_from(&self, index: usize) -> f64 {
        let all: f64 = self.came.iter().sum();
        let below: f64 = self.came[..index].iter().sum();
        if all > 0.0 { 1.0 - below / all } else { 1.0 }
    }
}

/// Until when lower ranks are refused because a higher one was.
///
/// A refused request would have waited for some turns of the service. A request of a lower rank that
/// took a place within that time would take it from the refused one.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    until: [Option<Timestamp>; RANKS],
    /// The index of the lowest rank that has asked so far.
    lowest_seen: Option<usize>,
}

impl HeldBack {
    /// A request of this rank arrives.
    pub(crate) fn arrived(&mut self, rank: Rank) {
        let lowest = self.lowest_seen.map_or(rank.index(), |lowest| lowest.min(rank.index()));
        self.lowest_seen = Some(lowest);
    }

    /// A request of the rank with this index was refused; it would have run at `turn`.
    pub(crate) fn refused(&mut self, index: usize, turn: Timestamp) {
        self.until[index] = self.until[index].max(Some(turn));
    }

    /// Whether a request of this rank has to leave free places to a higher one.
    pub(crate) fn holds_back(&self, rank: Rank, now: Timestamp) -> bool {
        self.until[rank.index() + 1..].iter().any(|&until| until >= Some(now))
    }

    /// Forgets what is over at `now`.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        for until in &mut self.until {
            *until = until.filter(|&until| until >= now);
        }
    }

    /// Whether some request that may arrive has to be held back, as of the last
    /// [`expire`](Self::expire).
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
    fn class_counts_before_returning() {
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
    fn a_rank_competes_with_itself_and_with_those_above() {
        let mut mix = DemandMix::default();
        let (normal, sheddable) = (rank(Priority::Normal), rank(Priority::Sheddable));
        for _ in 0..1_000 {
            mix.arrived(normal);
            (0..3).for_each(|_| mix.arrived(sheddable));
        }
        assert!((mix.share_from(sheddable.index()) - 1.0).abs() < f64::EPSILON);
        assert!((mix.share_from(normal.index()) - 0.25).abs() < 0.01);
        assert!(mix.share_from(rank(Priority::Critical).index()) < 0.01);
    }

    #[test]
    fn a_refusal_holds_back_lower_ranks_only_and_only_for_its_time() {
        let at = |nanos| Timestamp::from_nanos(nanos);
        let mut held = HeldBack::default();
        held.arrived(rank(Priority::Normal));
        held.refused(rank(Priority::Normal).index(), at(10));
        assert!(!held.is_active(), "no lower rank is known");
        held.arrived(rank(Priority::Sheddable));
        assert!(held.is_active());
        assert!(held.holds_back(rank(Priority::Sheddable), at(10)));
        assert!(!held.holds_back(rank(Priority::Sheddable), at(11)));
        assert!(!held.holds_back(rank(Priority::Normal), at(10)));
        held.expire(at(11));
        assert!(!held.is_active());
    }
}
