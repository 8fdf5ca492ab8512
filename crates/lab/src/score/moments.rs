//! A run's course, for the pictures.

use crate::run::Moment;
use crate::world::LOOKS;
use crate::world::journal::{How, Journal};
use crate::world::plan::Plan;

use super::oracle::Oracle;
use super::{NANO, percentile};

pub(super) fn moments(plan: &Plan, journal: &Journal) -> Vec<Moment> {
    let count = LOOKS as usize;
    let step = plan.seconds / count as f64;
    let mut moments: Vec<Moment> =
        (0..count).map(|n| Moment { at: n as f64 * step, ..Moment::default() }).collect();
    let index = |nanos: u64| ((nanos as f64 * NANO / step) as usize).min(count - 1);
    let mut latencies: Vec<Vec<u64>> = vec![Vec::new(); count];
    for ended in &journal.ended {
        let work = journal.asked[ended.request as usize].work;
        moments[index(ended.at - ended.latency)].offered += work;
        if ended.how == How::Answered {
            moments[index(ended.at)].goodput += work;
            latencies[index(ended.at)].push(ended.latency);
        }
    }
    for level in &journal.levels {
        let moment = &mut moments[((level.at / step).round() as usize).min(count - 1)];
        (moment.limit, moment.in_flight, moment.queued) =
            (level.limit, level.in_flight, level.queued);
    }
    for (moment, latencies) in moments.iter_mut().zip(latencies) {
        moment.p99 = percentile(latencies, 0.99) as f64 * NANO;
    }
    ceilings(plan, journal, &mut moments, step);
    for moment in &mut moments {
        let possible = plan.capacity.integral(moment.at + step) - plan.capacity.integral(moment.at);
        for level in [&mut moment.offered, &mut moment.goodput, &mut moment.ceiling] {
            *level = if possible > 0.0 { *level / possible } else { 0.0 };
        }
    }
    moments
}

fn ceilings(plan: &Plan, journal: &Journal, moments: &mut [Moment], step: f64) {
    let mut oracle = Oracle::new(plan);
    let mut asked = journal.asked.iter().peekable();
    let mut before = 0.0;
    for moment in moments {
        let end = moment.at + step;
        while let Some(next) = asked.next_if(|asked| asked.at as f64 * NANO < end) {
            oracle.ask(next);
        }
        let served = oracle.served_by(end);
        moment.ceiling = served - before;
        before = served;
    }
}
