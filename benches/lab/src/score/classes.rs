//! Classes and tenants: the share that each got of what it was due.

use std::collections::BTreeMap;

use crate::scenario::stream::Criticality;
use crate::world::journal::{AttemptOutcome, Journal, RequestRecord};
use crate::world::plan::Plan;
use crate::world::retries::obeys;

use super::oracle::Oracle;
use super::{NANO, is_judged, over};

/// Offered and useful work.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    offered: f64,
    good: f64,
}

fn tally(
    plan: &Plan,
    journal: &Journal,
    of: impl Fn(&RequestRecord) -> u32,
) -> BTreeMap<u32, Tally> {
    let mut tallies: BTreeMap<u32, Tally> = BTreeMap::new();
    for asked in journal.asked.iter().filter(|asked| is_judged(plan, asked.at)) {
        tallies.entry(of(asked)).or_default().offered += asked.work;
    }
    for ended in journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered) {
        if is_judged(plan, ended.at) {
            let asked = &journal.asked[ended.request as usize];
            tallies.entry(of(asked)).or_default().good += asked.work;
        }
    }
    tallies
}

/// Goodput over ceiling of the class with the lowest share. If priorities differ, the clairvoyant serves the
/// highest first; otherwise it serves the same share of every class.
pub(super) fn worst_class(plan: &Plan, journal: &Journal, ceiling: f64) -> f64 {
    let classes = plan.classes();
    let class_of = |stream: u32| {
        let class = &plan.streams[stream as usize].stream.class;
        classes.iter().position(|known| known == class).unwrap_or(0) as u32
    };
    let tallies = tally(plan, journal, |asked| class_of(asked.stream));
    let offered: f64 = tallies.values().map(|class| class.offered).sum();
    let by_rank = by_priority(plan, journal);
    let due = |class: u32, tally: &Tally| match &by_rank {
        None => tally.offered * over(ceiling, offered).min(1.0),
        Some(ranks) => {
            let streams = plan.streams.iter().enumerate();
            let first = streams.into_iter().find(|(n, _)| class_of(*n as u32) == class);
            let rank = first.map(|(_, plan)| plan.stream.priority).unwrap_or_default();
            let due = ranks.get(&rank).copied().unwrap_or_default();
            due.ceiling * over(tally.offered, due.offered)
        }
    };
    let shares = tallies.iter().filter_map(|(class, tally)| {
        let due = due(*class, tally);
        // A class that is due next to nothing has no meaningful share.
        (due > 0.01 * ceiling).then(|| tally.good / due)
    });
    shares.min_by(f64::total_cmp).unwrap_or(1.0)
}

/// Share of the requests of clients that retry when told that were answered, beside clients that do not.
pub(super) fn obedient(plan: &Plan, journal: &Journal) -> Option<f64> {
    let obey = |stream: u32| obeys(plan.streams[stream as usize].stream.retry);
    let tallies = tally(plan, journal, |asked| u32::from(obey(asked.stream)));
    let obedient = tallies.get(&1).filter(|_| tallies.len() == 2)?;
    Some(over(obedient.good, obedient.offered))
}

#[derive(Clone, Copy, Debug, Default)]
struct Due {
    offered: f64,
    ceiling: f64,
}

/// What each priority could have had with the lower ones out of its way.
fn by_priority(plan: &Plan, journal: &Journal) -> Option<BTreeMap<Criticality, Due>> {
    let rank = |asked: &RequestRecord| plan.streams[asked.stream as usize].stream.priority;
    let mut ranks: Vec<Criticality> =
        plan.streams.iter().map(|plan| plan.stream.priority).collect();
    ranks.sort_unstable();
    ranks.dedup();
    if ranks.len() < 2 {
        return None;
    }
    let (mut dues, mut above) = (BTreeMap::new(), 0.0);
    for &lowest in ranks.iter().rev() {
        let mut oracle = Oracle::new(plan);
        let mut before = None;
        let mut offered = 0.0;
        for asked in journal.asked.iter().filter(|asked| rank(asked) >= lowest) {
            if is_judged(plan, asked.at) {
                before.get_or_insert_with(|| oracle.served_by(plan.warmup));
                offered += if rank(asked) == lowest { asked.work } else { 0.0 };
            }
            oracle.ask(asked);
        }
        let served = oracle.served_by(journal.end as f64 * NANO) - before.unwrap_or(0.0);
        dues.insert(lowest, Due { offered, ceiling: (served - above).max(0.0) });
        above = served;
    }
    Some(dues)
}

/// Jain's index of what tenants got over their max-min fair share of the ceiling.
pub(super) fn fairness(plan: &Plan, journal: &Journal, ceiling: f64) -> f64 {
    let tallies = tally(plan, journal, |asked| asked.tenant);
    if tallies.len() < 2 {
        return 1.0;
    }
    let mut offers: Vec<f64> = tallies.values().map(|tenant| tenant.offered).collect();
    offers.sort_by(f64::total_cmp);
    let level = level(&offers, ceiling);
    let shares: Vec<f64> = tallies
        .values()
        .filter(|tenant| tenant.offered > 0.0)
        .map(|tenant| tenant.good / tenant.offered.min(level))
        .collect();
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
}

/// The most that one tenant gets when `total` is shared fairly among ascending `offers`.
fn level(offers: &[f64], total: f64) -> f64 {
    let mut left = total;
    for (n, offer) in offers.iter().enumerate() {
        let share = left / (offers.len() - n) as f64;
        if *offer > share {
            return share;
        }
        left -= offer;
    }
    f64::INFINITY
}
