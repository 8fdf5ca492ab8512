//! How far the limit is from the knee while demand is above capacity.

use crate::world::LEVEL_SAMPLES;
use crate::world::journal::Journal;
use crate::world::plan::Plan;

use super::NANO;

/// One step of a run: the limit in it, and the work offered over what the service could do.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Seconds since the start.
    at: f64,
    offered: f64,
    limit: f64,
}

/// Mean of |limit / knee − 1| over the judged steps with demand above capacity: below it a limit is not used.
pub(super) fn limit_error(plan: &Plan, journal: &Journal) -> f64 {
    let steps = steps(plan, journal);
    let overloaded = steps.iter().filter(|step| step.at >= plan.warmup && step.offered > 1.0);
    let errors = overloaded.filter_map(|step| {
        let knee = plan.knee.at(step.at);
        (knee > 0.0 && step.limit.is_finite()).then(|| (step.limit / knee - 1.0).abs())
    });
    let errors: Vec<f64> = errors.collect();
    errors.iter().fold(0.0, |sum, error| sum + error) / errors.len().max(1) as f64
}

fn steps(plan: &Plan, journal: &Journal) -> Vec<Step> {
    let count = LEVEL_SAMPLES as usize;
    let length = plan.seconds / count as f64;
    let mut steps: Vec<Step> =
        (0..count).map(|n| Step { at: n as f64 * length, ..Step::default() }).collect();
    let index = |nanos: u64| ((nanos as f64 * NANO / length) as usize).min(count - 1);
    for ended in &journal.ended {
        let work = journal.asked[ended.request as usize].work;
        steps[index(ended.at - ended.latency)].offered += work;
    }
    for level in &journal.levels {
        steps[((level.at / length).round() as usize).min(count - 1)].limit = level.limit;
    }
    for step in &mut steps {
        let possible = plan.capacity.integral(step.at + length) - plan.capacity.integral(step.at);
        step.offered = if possible > 0.0 { step.offered / possible } else { 0.0 };
    }
    steps
}
