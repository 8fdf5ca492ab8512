//! What refusals say about time, and whether it is true.

use crate::url_storm::steps::StepResult;
use crate::url_storm::trigger::Trigger;
use crate::url_storm::truth::Truth;
use serde::Serialize;

/// What refusals say about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Telling {
    NoRefusals,
    NotTold,
    /// Too few clients came back, or none, to know.
    NotChecked,
    Truth,
    TooEarly,
    TooLong,
}

/// Share of the refusals that tell a time, below which the service is said to tell none.
const TELLS: f64 = 0.5;
/// Share of the clients that came back when told, and were let in.
const TRUE_SHARE: f64 = 0.7;
/// Longest time too long: a whole number of seconds is rounded up by one.
const ROUNDING_S: f64 = 2.0;
/// Clients that came back, below which their share says nothing.
const MIN_CAME_BACK: u32 = 20;

impl Telling {
    pub(super) fn of(truth: &Truth) -> Self {
        let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
        if truth.refusals == 0 {
            Self::NoRefusals
        } else if share(truth.told, truth.refusals) < TELLS {
            Self::NotTold
        } else if truth.too_long_p50_s.is_some_and(|seconds| seconds > ROUNDING_S) {
            Self::TooLong
        } else if truth.came_back < MIN_CAME_BACK {
            Self::NotChecked
        } else if share(truth.let_in, truth.came_back) < TRUE_SHARE {
            Self::TooEarly
        } else {
            Self::Truth
        }
    }
}

/// What was counted in the step that was made for it, or in the one with the most refusals.
pub(super) fn truth(steps: &[StepResult]) -> Truth {
    let told = steps.iter().find(|step| step.trigger == Trigger::Told);
    let most = steps.iter().max_by_key(|step| step.retry_after.refusals);
    told.filter(|step| step.retry_after.refusals > 0)
        .or(most)
        .map(|step| step.retry_after)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refusals_told_is_true_too_early_too_long_or_not_told() {
        let truth =
            Truth { refusals: 100, told: 100, came_back: 50, let_in: 45, ..Truth::default() };
        for (truth, expected) in [
            (truth, Telling::Truth),
            (Truth { let_in: 20, ..truth }, Telling::TooEarly),
            (Truth { too_long_p50_s: Some(9.0), ..truth }, Telling::TooLong),
            (Truth { told: 10, ..truth }, Telling::NotTold),
            (Truth { came_back: 3, let_in: 3, ..truth }, Telling::NotChecked),
            (Truth::default(), Telling::NoRefusals),
        ] {
            assert_eq!(Telling::of(&truth), expected, "{truth:?}");
        }
    }
}
