//! The judge: a run's journal against the clairvoyant on the same requests.

mod classes;
mod convergence;
mod moments;
mod oracle;

use crate::run::{Moment, Score};
use crate::world::journal::{How, Journal};
use crate::world::plan::Plan;

use classes::{fairness, worst_class};
use convergence::converge;
use oracle::Oracle;

const NANO: f64 = 1e-9;

/// The figures of a run, and its course.
pub(crate) fn judge(plan: &Plan, journal: &Journal) -> (Score, Vec<Moment>) {
    let moments = moments::moments(plan, journal);
    let ceiling = ceiling(plan, journal);
    let good = good(plan, journal);
    let requests = journal.asked.iter().filter(|asked| is_judged(plan, asked.at)).count();
    let attempts = journal.ended.iter().filter(|ended| is_judged(plan, ended.at)).count();
    let score = Score {
        goodput_over_ceiling: over(good, ceiling),
        worst_class: worst_class(plan, journal, ceiling),
        p99_over_uncontended: p99_over_uncontended(plan, journal),
        false_reject: false_rejects(plan, journal) as f64 / requests.max(1) as f64,
        converge_s: converge(plan, journal),
        wasted: (1.0 - over(good, journal.work_done)).max(0.0),
        attempts: attempts as f64 / requests.max(1) as f64,
        fairness: fairness(plan, journal, ceiling),
        limit_error: limit_error(plan, &moments),
        kept_promises: (journal.promised > 0)
            .then(|| journal.kept as f64 / journal.promised as f64),
    };
    (score, moments)
}

fn is_judged(plan: &Plan, nanos: u64) -> bool {
    nanos as f64 * NANO >= plan.warmup
}

/// 1 where there is nothing to be had.
fn over(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 1.0 }
}

/// Work that was answered in time.
fn good(plan: &Plan, journal: &Journal) -> f64 {
    let answered = journal.ended.iter().filter(|ended| ended.how == How::Answered);
    let judged = answered.filter(|ended| is_judged(plan, ended.at));
    judged.fold(0.0, |sum, ended| sum + journal.asked[ended.request as usize].work)
}

fn ceiling(plan: &Plan, journal: &Journal) -> f64 {
    let mut oracle = Oracle::new(plan);
    let mut before = None;
    for asked in &journal.asked {
        if before.is_none() && is_judged(plan, asked.at) {
            before = Some(oracle.served_by(plan.warmup));
        }
        oracle.ask(asked);
    }
    oracle.served_by(journal.end as f64 * NANO) - before.unwrap_or(0.0)
}

/// Refusals at moments at which the clairvoyant had next to nothing to do.
fn false_rejects(plan: &Plan, journal: &Journal) -> usize {
    let mut oracle = Oracle::new(plan);
    let mut asked = journal.asked.iter().peekable();
    let mut count = 0;
    for ended in journal.ended.iter().filter(|ended| ended.how == How::Refused) {
        while let Some(next) = asked.next_if(|asked| asked.at < ended.at) {
            oracle.ask(next);
        }
        let stream = journal.asked[ended.request as usize].stream;
        let idle = oracle.is_nearly_idle(ended.at as f64 * NANO, stream);
        count += usize::from(idle && is_judged(plan, ended.at));
    }
    count
}

/// Who left without an answer counts with the time that was waited.
fn p99_over_uncontended(plan: &Plan, journal: &Journal) -> f64 {
    let waited =
        journal.ended.iter().filter(|ended| matches!(ended.how, How::Answered | How::Left));
    let waited = waited.filter(|ended| is_judged(plan, ended.at)).map(|ended| ended.latency);
    let alone = journal.asked.iter().filter(|asked| is_judged(plan, asked.at) && asked.work > 0.0);
    let alone = percentile(alone.map(|asked| asked.alone).collect(), 0.99);
    let waited = percentile(waited.collect(), 0.99);
    if alone > 0 { waited as f64 / alone as f64 } else { 0.0 }
}

/// The smallest value that this share of all does not exceed; 0 of nothing.
fn percentile(mut values: Vec<u64>, share: f64) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    *values.select_nth_unstable(rank - 1).1
}

/// Only where demand is above capacity: below it a limit is not used.
fn limit_error(plan: &Plan, moments: &[Moment]) -> f64 {
    let overloaded =
        moments.iter().filter(|moment| moment.at >= plan.warmup && moment.offered > 1.0);
    let errors = overloaded.filter_map(|moment| {
        let knee = plan.knee.at(moment.at);
        (knee > 0.0 && moment.limit.is_finite()).then(|| (moment.limit / knee - 1.0).abs())
    });
    let errors: Vec<f64> = errors.collect();
    errors.iter().fold(0.0, |sum, error| sum + error) / errors.len().max(1) as f64
}
