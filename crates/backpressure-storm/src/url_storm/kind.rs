//! The service in one word.

use crate::url_storm::rest::Rest;
use crate::url_storm::steps::StepResult;
use crate::url_storm::storm::Storm;
use serde::Serialize;

/// What overload makes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// It could not be offered more than it can do.
    NotOverloaded,
    /// It refuses above a constant rate, with nearly nothing in flight.
    ConstantRate,
    /// It keeps its goodput, answers in good time, and comes back.
    Protected,
    /// It keeps its goodput, and answers just before the deadline.
    Late,
    /// It loses part of its goodput, and comes back.
    Bends,
    /// It loses most of its goodput, and comes back when the overload is over.
    Collapses,
    /// Retries keep it down after the overload.
    StaysDown,
    /// Nothing listens any more.
    Died,
}

/// Goodput below which a service bends, and below which it collapses. Half is what retries twice as many make of it.
const KEEPS_GOODPUT: f64 = 0.8;
const COLLAPSED: f64 = 0.5;
/// Share of the deadline above which the median is no good time: clients of a slightly shorter one get nothing.
const JUST_IN_TIME: f64 = 0.6;
/// Fewer requests in flight than this are no concurrency that could be full. A single worker has one.
const NOTHING_IN_FLIGHT: f64 = 0.7;

impl Kind {
    /// `overloads` are the steps above the capacity.
    pub(super) fn of(storm: &Storm, overloads: &[&StepResult]) -> Self {
        if storm.rests().any(|rest| *rest == Rest::Dead) {
            return Self::Died;
        }
        if storm.rests().any(|rest| matches!(rest, Rest::Down(_))) {
            return Self::StaysDown;
        }
        if storm.steps.iter().any(StepResult::stays_down) {
            return Self::StaysDown;
        }
        let lowest = overloads.iter().map(|step| step.goodput_over_possible).reduce(f64::min);
        let Some(lowest) = lowest else {
            let failed = storm.steps.iter().any(|step| step.goodput_over_possible < COLLAPSED);
            return if failed { Self::Collapses } else { Self::NotOverloaded };
        };
        let late = |step: &StepResult| {
            step.attempt_p50_ms.is_some_and(|p50| p50 > JUST_IN_TIME * storm.deadline_ms)
        };
        if lowest < COLLAPSED {
            Self::Collapses
        } else if lowest < KEEPS_GOODPUT {
            Self::Bends
        } else if overloads.iter().any(|step| late(step)) {
            Self::Late
        } else if overloads.iter().all(|step| refuses_without_work(step)) {
            Self::ConstantRate
        } else {
            Self::Protected
        }
    }
}

/// By Little's law, goodput × latency is the mean number of answered requests in flight.
fn refuses_without_work(step: &StepResult) -> bool {
    let in_flight = step.goodput * step.attempt_p50_ms.unwrap_or(0.0) / 1e3;
    step.refused_share > 0.1 && in_flight < NOTHING_IN_FLIGHT
}
