//! The search: the defaults, settings from anywhere, and then steps from the best one so far.

use fastrand::Rng;
use serde::Serialize;

use crate::controller::Site;
use crate::controller::configured::{Family, Knob};
use crate::parallel;

use super::split::{Side, Split, Standing};

/// What a search found; [`Judged`] twice, so that one sees what the options are worth.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) family: &'static str,
    pub(super) knobs: Vec<&'static str>,
    pub(super) tries: u32,
    pub(super) default: Judged,
    pub(super) best: Judged,
}

/// A setting, where it was searched and where it was not.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    pub(super) values: Vec<f64>,
    pub(super) train: Standing,
    pub(super) holdout: Standing,
}

/// So many are tried at once; what is found does not depend on how many cores there are.
const ROUND: u32 = 8;

pub(super) fn search(family: &Family, split: &Split, tries: u32, seed: u64) -> Found {
    let mut rng = Rng::with_seed(seed);
    let values = |knobs: &[Knob]| knobs.iter().map(|knob| knob.default).collect::<Vec<f64>>();
    let default = values(family.knobs);
    let mut best = stand(family, std::slice::from_ref(&default), &split.train).remove(0);
    let mut tried = 0;
    while tried < tries {
        let count = ROUND.min(tries - tried);
        // The first third anywhere, the rest near the best.
        let wide = tried < tries / 3;
        let round: Vec<Vec<f64>> =
            (0..count).map(|_| next(family.knobs, &best.0, wide, &mut rng)).collect();
        for one in stand(family, &round, &split.train) {
            if worth(one.1) > worth(best.1) {
                best = one;
            }
        }
        tried += count;
    }
    let judge = |values: Vec<f64>| {
        let [train, holdout] = [&split.train, &split.holdout]
            .map(|side| stand(family, std::slice::from_ref(&values), side).remove(0).1);
        Judged { values, train, holdout }
    };
    let knobs = family.knobs.iter().map(|knob| knob.name).collect();
    Found { family: family.name, knobs, tries, default: judge(default), best: judge(best.0) }
}

/// The mean, so that every step counts, and the worst, because the suite's score is that.
fn worth(standing: Standing) -> f64 {
    standing.mean + standing.worst
}

/// A setting to try: all knobs anywhere, or one or two of them near where they are.
fn next(knobs: &[Knob], best: &[f64], wide: bool, rng: &mut Rng) -> Vec<f64> {
    if wide {
        return knobs.iter().map(|knob| turned(knob, rng.f64())).collect();
    }
    let mut values = best.to_vec();
    for _ in 0..2 {
        let at = rng.usize(..knobs.len());
        let (knob, value) = (&knobs[at], values[at]);
        let here = (value / knob.least).ln() / (knob.most / knob.least).ln();
        values[at] = turned(knob, here + (rng.f64() - 0.5) / 2.0);
    }
    values
}

/// Each order of magnitude gets as much of the knob.
fn turned(knob: &Knob, to: f64) -> f64 {
    let value = knob.least * (knob.most / knob.least).powf(to.clamp(0.0, 1.0));
    let value = if knob.whole { value.round() } else { (value * 1e3).round() / 1e3 };
    value.clamp(knob.least, knob.most)
}

fn stand(family: &Family, settings: &[Vec<f64>], side: &Side) -> Vec<(Vec<f64>, Standing)> {
    parallel::each("tune", settings, |values| {
        let make = |site: &Site| (family.make)(values, site);
        (values.clone(), side.stand(&make))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::configured::ALL;

    #[test]
    fn a_knob_stays_in_its_range_wherever_it_is_turned() {
        let mut rng = Rng::with_seed(1);
        for family in ALL {
            let mut values: Vec<f64> = family.knobs.iter().map(|knob| knob.default).collect();
            for step in 0..200 {
                values = next(family.knobs, &values, step % 7 == 0, &mut rng);
                for (knob, value) in family.knobs.iter().zip(&values) {
                    assert!((knob.least..=knob.most).contains(value), "{knob:?} {value}");
                    assert!(!knob.whole || value.fract() == 0.0, "{knob:?} {value}");
                }
            }
        }
    }
}
