//! Scores a run: its journal against a clairvoyant on the same requests.

mod classes;
mod convergence;
mod limit_error;
mod oracle;

use crate::run::Score;
use crate::world::journal::{AttemptOutcome, Journal, RequestRecord};
use crate::world::plan::Plan;

use classes::{fairness, obedient, worst_class};
use convergence::converge;
use limit_error::limit_error;
use oracle::Oracle;

const NANO: f64 = 1e-9;

/// The figures of a run.
pub(crate) fn judge(plan: &Plan, journal: &Journal) -> Score {
    let ceiling = ceiling(plan, journal);
    let good = good(plan, journal);
    let requests = journal.asked.iter().filter(|asked| is_judged(plan, asked.at)).count();
    let attempts = journal.ended.iter().filter(|ended| is_judged(plan, ended.at)).count();
    Score {
        goodput_over_ceiling: over(good, ceiling),
        worst_class: worst_class(plan, journal, ceiling),
        p99_over_uncontended: p99_over_uncontended(plan, journal),
        false_reject: false_rejects(plan, journal) as f64 / requests.max(1) as f64,
        converge_s: converge(plan, journal),
        wasted: (1.0 - over(good, journal.work_done)).max(0.0),
        attempts: attempts as f64 / requests.max(1) as f64,
        fairness: fairness(plan, journal, ceiling),
        limit_error: limit_error(plan, journal),
        kept_promises: (journal.promised > 0)
            .then(|| journal.kept as f64 / journal.promised as f64),
        obedient: obedient(plan, journal),
    }
}

fn is_judged(plan: &Plan, nanos: u64) -> bool {
    nanos as f64 * NANO >= plan.warmup
}

/// 1 if there was nothing to do.
fn over(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 1.0 }
}

/// Work that was answered in time.
fn good(plan: &Plan, journal: &Journal) -> f64 {
    let answered = journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered);
    let judged = answered.filter(|ended| is_judged(plan, ended.at));
    judged.fold(0.0, |sum, ended| sum + journal.asked[ended.request as usize].work)
}

/// Work that the clairvoyant has finished by the end. A request comes to the bottleneck when everything else it
/// needs is done, so that an answer cut off by the end of the run counts for no controller.
fn ceiling(plan: &Plan, journal: &Journal) -> f64 {
    let comes = |asked: &RequestRecord| asked.at + asked.elsewhere;
    let mut all: Vec<&RequestRecord> =
        journal.asked.iter().filter(|asked| comes(asked) <= journal.end).collect();
    all.sort_by_key(|asked| comes(asked));
    let mut oracle = Oracle::new(plan);
    let mut before = None;
    for asked in all {
        if before.is_none() && is_judged(plan, comes(asked)) {
            before = Some(oracle.served_by(plan.warmup));
        }
        oracle.ask_at(asked, comes(asked) as f64 * NANO);
    }
    oracle.served_by(journal.end as f64 * NANO) - before.unwrap_or(0.0)
}

/// Number of rejections at moments at which the clairvoyant was nearly idle.
fn false_rejects(plan: &Plan, journal: &Journal) -> usize {
    let mut oracle = Oracle::new(plan);
    let (mut next, mut count) = (0, 0);
    for ended in journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Refused) {
        // Of requests that arrive at the same moment, only those before this one.
        let before = |index: usize, at: u64| {
            at < ended.at || at == ended.at && index < ended.request as usize
        };
        while next < journal.asked.len() && before(next, journal.asked[next].at) {
            oracle.ask(&journal.asked[next]);
            next += 1;
        }
        let stream = journal.asked[ended.request as usize].stream;
        let idle = oracle.is_nearly_idle(ended.at as f64 * NANO, stream);
        count += usize::from(idle && is_judged(plan, ended.at));
    }
    count
}

/// An attempt whose client left without an answer counts with the time that the client waited.
fn p99_over_uncontended(plan: &Plan, journal: &Journal) -> f64 {
    let waited = journal
        .ended
        .iter()
        .filter(|ended| matches!(ended.outcome, AttemptOutcome::Answered | AttemptOutcome::Left));
    let waited = waited.filter(|ended| is_judged(plan, ended.at)).map(|ended| ended.latency);
    let uncontended =
        journal.asked.iter().filter(|asked| is_judged(plan, asked.at) && asked.work > 0.0);
    let uncontended = percentile(uncontended.map(|asked| asked.uncontended).collect(), 0.99);
    let waited = percentile(waited.collect(), 0.99);
    if uncontended > 0 { waited as f64 / uncontended as f64 } else { 0.0 }
}

/// The smallest value that this share of the values does not exceed; 0 if there are none.
fn percentile(mut values: Vec<u64>, share: f64) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    *values.select_nth_unstable(rank - 1).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::catalogue::find;
    use crate::scenario::Scenario;
    use crate::world::journal::AttemptRecord;
    use crate::world::simulate;

    fn plan(service: &str, streams: &str, seconds: u32) -> Plan {
        let stage = "[[service.stage]]\nkind = 'fifo'\ncores = 4\ntime = { exp = 0.01 }\n";
        let service = format!("[[service]]\nname = 'api'\n{service}\n{stage}");
        let scenario = Scenario::made_up(f64::from(seconds), &(service + streams)).unwrap();
        Plan::of(&Scenario { warmup: 5.0, ..scenario })
    }

    fn score(plan: &Plan, controller: &str) -> Score {
        judge(plan, &simulate(plan, &find(controller).unwrap().make, 9))
    }

    /// `g*`: what is left when each rejection costs `r` of a request.
    #[test]
    fn the_ceiling_of_a_constant_load_is_the_formula() {
        for (load, r) in [(0.8, 0.01), (2.0, 0.05), (5.0, 0.01), (10.0, 0.05)] {
            let service = format!("refusal = {}", r * 0.01);
            let plan = plan(&service, &format!("[[stream]]\nload = {load}\npatience = 0.5"), 105);
            let journal = simulate(&plan, &find("static-c").unwrap().make, 9);
            let found = ceiling(&plan, &journal) / (4.0 * 100.0);
            let formula = f64::min(load, (1.0 - load * r) / (1.0 - r));
            assert!((found / formula - 1.0).abs() < 0.02, "{load}×, r {r}: {found}, {formula}");
        }
    }

    /// Four replicas at twice their capacity. One of them is lost, slow or stalled from 25 s, or from the
    /// start, until 65 s. The first 5 s are not scored.
    #[test]
    fn the_ceiling_of_replicas_that_come_and_go_is_what_they_can_do_together() {
        for (change, back, share) in [
            ("cores = 0", "cores = 4", 0.0),
            ("speed = 0", "speed = 1", 0.0),
            ("speed = 0.01", "speed = 1", 0.01),
            ("time = 50", "time = 1", 0.02),
            ("speed = 3", "speed = 1", 3.0),
        ] {
            for (replica, balance, from) in
                [(0, "round-robin", 25.0), (3, "p2c", 25.0), (0, "p2c", 0.0)]
            {
                let changes = format!(
                    "changes = [{{ at = {from}, {change}, replica = {replica} }},
                        {{ at = 65, {back}, replica = {replica} }}]"
                );
                let service =
                    format!("[[service]]\nname = 'api'\nreplicas = 4\nbalance = '{balance}'");
                let stage = "[[service.stage]]\nkind = 'fifo'\ncores = 4\ntime = { exp = 0.01 }";
                let stream = "[[stream]]\nload = 2\npatience = 0.5";
                let parts = format!("{service}\n{stage}\n{changes}\n{stream}");
                let scenario = Scenario::made_up(105.0, &parts).unwrap();
                let plan = Plan::of(&Scenario { warmup: 5.0, ..scenario });
                let journal = simulate(&plan, &find("static-2c").unwrap().make, 9);
                let ceiling = ceiling(&plan, &journal);
                let theory = 16.0 * 100.0 + 4.0 * (65.0 - f64::max(from, 5.0)) * (share - 1.0);
                let ratio = ceiling / theory;
                assert!((ratio - 1.0).abs() < 0.02, "{change}, {balance}: {ratio} of theory");
                let goodput = good(&plan, &journal) / ceiling;
                assert!(goodput < 1.01, "{change}, {balance}: {goodput} of the ceiling");
            }
        }
    }

    /// 20 s of requests that take 5 s each: those of the last 5 s are not answered.
    #[test]
    fn an_answer_that_the_end_cuts_off_is_not_in_the_ceiling() {
        let service = "[[service]]\nname = 'api'\n[[service.stage]]\nkind = 'fifo'\ncores = 4";
        let delay =
            "time = { exp = 0.01 }\n[[service.stage]]\nkind = 'delay'\ntime = { fixed = 5 }";
        for patience in ["", "patience = 8"] {
            let stream = format!("[[stream]]\nload = 0.5\n{patience}");
            let parts = format!("{service}\n{delay}\n{stream}");
            let plan = Plan::of(&Scenario::made_up(20.0, &parts).unwrap());
            let goodput = score(&plan, "none").goodput_over_ceiling;
            assert!((goodput - 1.0).abs() < 0.01, "{patience}: {goodput}");
        }
    }

    #[test]
    fn without_a_limit_every_request_is_served_at_half_load() {
        let plan = plan("", "[[stream]]\nload = 0.5\npatience = 1", 105);
        let score = score(&plan, "none");
        assert!((score.goodput_over_ceiling - 1.0).abs() < 0.005, "{score:?}");
        assert!(score.p99_over_uncontended < 1.1, "{score:?}");
        assert_eq!((score.false_reject, score.attempts > 0.99), (0.0, true));
    }

    #[test]
    fn without_a_limit_every_request_is_late_at_twice_the_capacity() {
        let plan = plan("", "[[stream]]\nload = 2\npatience = 0.5", 65);
        let score = score(&plan, "none");
        assert!(score.goodput_over_ceiling < 0.05, "{score:?}");
        assert!(score.wasted > 0.95, "{score:?}");
    }

    #[test]
    fn a_rejection_is_false_while_the_clairvoyant_is_idle() {
        let plan = plan("", "[[stream]]\nload = 0.01\npatience = 1", 20);
        let asked = |second: u64| RequestRecord {
            at: second * 1_000_000_000,
            uncontended: 10_000_000,
            elsewhere: 0,
            work: 0.01,
            stream: 0,
            tenant: 0,
        };
        let refused = |second: u64, request| AttemptRecord {
            at: second * 1_000_000_000,
            latency: 0,
            request,
            outcome: AttemptOutcome::Refused,
        };
        let journal = Journal {
            asked: vec![asked(1), asked(7), asked(8)],
            ended: vec![refused(1, 0), refused(7, 1), refused(8, 2)],
            end: 20_000_000_000,
            ..Journal::default()
        };
        assert_eq!(false_rejects(&plan, &journal), 2, "the first one is not judged");
    }

    #[test]
    fn a_rejection_among_requests_that_arrive_at_once_is_not_false() {
        let burst = "[[stream]]\nburst = { size = 300, first = 10 }\npatience = 1";
        let plan = plan("", burst, 20);
        // Four run at once; to the clairvoyant a queue of forty, a tenth of a second, is nearly idle.
        let score = score(&plan, "static-c");
        let (least, most) = (30.0 / 300.0, 60.0 / 300.0);
        assert!((least..most).contains(&score.false_reject), "{score:?}");
    }

    #[test]
    fn critical_requests_are_due_all_they_ask_for_while_others_can_be_shed() {
        let streams = "[[stream]]\nclass = 'vital'\nload = 0.3\npriority = 'critical'\npatience = 1
[[stream]]\nclass = 'rest'\nload = 5\npriority = 'sheddable'\npatience = 1";
        let plan = plan("", streams, 65);
        // This limit ignores priority, so that one request in five is admitted of each class.
        let score = score(&plan, "static-2c");
        assert!((0.14..0.24).contains(&score.worst_class), "{score:?}");
        assert!(score.goodput_over_ceiling > 0.95, "{score:?}");
    }

    #[test]
    fn a_tenant_that_takes_ten_times_its_share_lowers_fairness() {
        let streams = "[[stream]]\nload = 0.9\ntenants = { count = 9 }\npatience = 1
[[stream]]\nclass = 'noisy'\nload = 1\ntenants = { first = 9 }\npatience = 1";
        let plan = plan("", streams, 65);
        let score = score(&plan, "static-2c");
        // Shares of 1/1.9 and 10/1.9 of what is due: Jain's index is (9 + 10)²/(10 · (9 + 100)).
        assert!((score.fairness - 361.0 / 1_090.0).abs() < 0.03, "{score:?}");
    }

    #[test]
    fn a_percentile_is_the_smallest_value_that_the_share_does_not_exceed() {
        let values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(percentile(values.clone(), 0.99), 198);
        assert_eq!(percentile(values, 0.5), 100);
        assert_eq!((percentile(vec![7], 0.99), percentile(Vec::new(), 0.99)), (7, 0));
    }
}
