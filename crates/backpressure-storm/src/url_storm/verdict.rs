//! The verdict: does the service stay up, does it come back, and does Retry-After tell the truth?

use crate::text::percent;
use crate::url_storm::attempts::ClientKind;
use crate::url_storm::rest::Rest;
use crate::url_storm::sentences::{back, capacity, headline, overload, told};
use crate::url_storm::steps::StepResult;
use crate::url_storm::storm::Storm;
use crate::url_storm::trigger::Trigger;
use crate::url_storm::truth::Truth;
use serde::Serialize;

/// The service in one word.
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

/// The verdict, and its sentences.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    /// What the verdict stands on was disturbed, or may not have been what it seems; `doubt` says why.
    pub(crate) in_doubt: bool,
    pub(crate) doubt: Option<String>,
    pub(crate) retry_after: Telling,
    /// Lowest goodput above capacity, over what is possible.
    pub(crate) lowest_naive: Option<f64>,
    pub(crate) lowest_obedient: Option<f64>,
    /// Longest recovery; null if there was none to see, or one is missing.
    pub(crate) slowest_recovery_s: Option<f64>,
    pub(crate) lines: Vec<String>,
}

/// Goodput below which a service bends, and below which it collapses. Half is what retries twice as many make of it.
const KEEPS_GOODPUT: f64 = 0.8;
const COLLAPSED: f64 = 0.5;
/// Share of the deadline above which the median is no good time: clients of a slightly shorter one get nothing.
const JUST_IN_TIME: f64 = 0.6;
/// Fewer requests in flight than this are no concurrency that could be full. A single worker has one.
const NOTHING_IN_FLIGHT: f64 = 0.7;
/// Share of the refusals that tell a time, below which the service is said to tell none.
const TELLS: f64 = 0.5;
/// Share of the clients that came back when told, and were let in.
const TRUE_SHARE: f64 = 0.7;
/// Longest time too long: a whole number of seconds is rounded up by one.
const ROUNDING_S: f64 = 2.0;
/// Share of good answers with another length that says they may be no good answers: more than pages that differ.
const UNLIKE: f64 = 0.05;
/// Clients that came back, below which their share says nothing.
const MIN_CAME_BACK: u32 = 20;

impl Verdict {
    pub(crate) fn of(storm: &Storm) -> Self {
        let overloads: Vec<&StepResult> =
            storm.steps.iter().filter(|step| step.overloads()).collect();
        let lowest = |kind| {
            let shares = overloads
                .iter()
                .filter(|step| step.kind == kind)
                .map(|step| step.goodput_over_possible);
            shares.reduce(f64::min)
        };
        let truth = truth(&storm.steps);
        let retry_after = telling(&truth);
        let kind = kind(storm, &overloads);
        let doubt = doubt(storm);
        let recoveries: Vec<Option<f64>> = storm
            .steps
            .iter()
            .filter(|step| step.shows_recovery())
            .map(|step| step.recovered_s)
            .collect();
        let all_back: Option<Vec<f64>> = recoveries.into_iter().collect();
        let mut verdict = Self {
            kind,
            in_doubt: doubt.is_some(),
            doubt,
            retry_after,
            lowest_naive: lowest(ClientKind::Naive),
            lowest_obedient: lowest(ClientKind::Obedient),
            slowest_recovery_s: all_back.and_then(|all| all.into_iter().reduce(f64::max)),
            lines: vec![],
        };
        verdict.lines = vec![
            headline(storm, kind),
            capacity(storm),
            overload(storm, &overloads),
            back(storm),
            told(&truth, retry_after),
        ];
        verdict
    }
}

/// Why the verdict may be wrong, if it may be.
fn doubt(storm: &Storm) -> Option<String> {
    let any = |of: fn(&StepResult) -> bool| storm.steps.iter().any(of);
    let unlike = storm.steps.iter().map(|step| step.other_length_share).fold(0.0, f64::max);
    let mut why = Vec::new();
    if unlike > UNLIKE {
        why.push(format!(
            "up to {} of the answers that count as good have quite another length than without load. \
             If they are errors with status 200, give --expect TEXT",
            percent(unlike)
        ));
    }
    if any(|step| step.disturbed) {
        why.push("something else was busy on this machine, see below".to_owned());
    }
    if any(|step| step.generator_limited) {
        why.push("the load generator itself was full, see below".to_owned());
    }
    (!why.is_empty()).then(|| format!("In doubt: {}.", why.join("; and ")))
}

fn kind(storm: &Storm, overloads: &[&StepResult]) -> Kind {
    if storm.rests().any(|rest| *rest == Rest::Dead) {
        return Kind::Died;
    }
    if storm.rests().any(|rest| matches!(rest, Rest::Down(_))) {
        return Kind::StaysDown;
    }
    if storm.steps.iter().any(StepResult::stays_down) {
        return Kind::StaysDown;
    }
    let lowest = overloads.iter().map(|step| step.goodput_over_possible).reduce(f64::min);
    let Some(lowest) = lowest else {
        let failed = storm.steps.iter().any(|step| step.goodput_over_possible < COLLAPSED);
        return if failed { Kind::Collapses } else { Kind::NotOverloaded };
    };
    let late = |step: &StepResult| {
        step.attempt_p50_ms.is_some_and(|p50| p50 > JUST_IN_TIME * storm.deadline_ms)
    };
    if lowest < COLLAPSED {
        Kind::Collapses
    } else if lowest < KEEPS_GOODPUT {
        Kind::Bends
    } else if overloads.iter().any(|step| late(step)) {
        Kind::Late
    } else if overloads.iter().all(|step| refuses_without_work(step)) {
        Kind::ConstantRate
    } else {
        Kind::Protected
    }
}

/// By Little's law, goodput × latency is the mean number of answered requests in flight.
fn refuses_without_work(step: &StepResult) -> bool {
    let in_flight = step.goodput * step.attempt_p50_ms.unwrap_or(0.0) / 1e3;
    step.refused_share > 0.1 && in_flight < NOTHING_IN_FLIGHT
}

/// That of the step that was made for it, or of the one with the most refusals.
fn truth(steps: &[StepResult]) -> Truth {
    let told = steps.iter().find(|step| step.trigger == Trigger::Told);
    let most = steps.iter().max_by_key(|step| step.retry_after.refusals);
    told.filter(|step| step.retry_after.refusals > 0)
        .or(most)
        .map(|step| step.retry_after)
        .unwrap_or_default()
}

fn telling(truth: &Truth) -> Telling {
    let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
    if truth.refusals == 0 {
        Telling::NoRefusals
    } else if share(truth.told, truth.refusals) < TELLS {
        Telling::NotTold
    } else if truth.too_long_p50_s.is_some_and(|seconds| seconds > ROUNDING_S) {
        Telling::TooLong
    } else if truth.came_back < MIN_CAME_BACK {
        Telling::NotChecked
    } else if share(truth.let_in, truth.came_back) < TRUE_SHARE {
        Telling::TooEarly
    } else {
        Telling::Truth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::Window;
    use crate::url_storm::options::UrlOptions;
    use crate::url_storm::target::Target;
    use std::time::Duration;

    fn step(trigger: Trigger, share: f64, attempt_ms: f64, refused_share: f64) -> StepResult {
        StepResult {
            trigger,
            kind: ClientKind::Naive,
            step: trigger.name(),
            clients: "naive",
            offered: 200.0,
            goodput: share * 100.0,
            goodput_over_possible: share,
            p50_ms: Some(attempt_ms),
            p99_ms: Some(attempt_ms * 2.0),
            attempt_p50_ms: Some(attempt_ms),
            attempts_per_request: 1.0,
            refused_share,
            late_share: 0.0,
            broken_share: 0.0,
            other_length_share: 0.0,
            recovered_s: Some(0.5),
            kept_away: false,
            retry_after: Truth::default(),
            service_cpu: None,
            generator_cpu: 0.1,
            generator_limited: false,
            others: None,
            disturbed: false,
            repeated: 0,
            not_sent: 0,
            other_answers: std::collections::BTreeMap::new(),
            timeline: vec![],
            triggered: Some(Window { from: Duration::ZERO, to: Duration::from_secs(1) }),
            rest: Rest::Idle,
        }
    }

    fn verdict(steps: Vec<StepResult>) -> Verdict {
        let options = UrlOptions::parsed(&["http://127.0.0.1/"]).expect("options");
        let target = Target::of(&options).expect("a target");
        let storm = Storm { capacity: 100.0, steps, ..Storm::new(&options, &target) };
        Verdict::of(&storm)
    }

    const TWICE: Trigger = Trigger::Load(2.0);

    #[test]
    fn a_verdict_follows_from_goodput_latency_and_recovery() {
        let never = StepResult { recovered_s: None, ..step(TWICE, 0.9, 50.0, 0.5) };
        let brown_out = StepResult { recovered_s: None, ..step(Trigger::BrownOut, 0.1, 50.0, 0.0) };
        let dead = StepResult { rest: Rest::Dead, ..step(TWICE, 0.9, 50.0, 0.5) };
        let down = StepResult {
            rest: Rest::Down("status 503".into()),
            ..step(Trigger::Told, 0.1, 50.0, 0.5)
        };
        for (step, expected) in [
            (step(TWICE, 0.95, 50.0, 0.5), Kind::Protected),
            (step(TWICE, 0.95, 0.5, 0.5), Kind::ConstantRate),
            (step(TWICE, 0.95, 0.5, 0.0), Kind::Protected),
            (step(TWICE, 0.95, 900.0, 0.0), Kind::Late),
            (step(TWICE, 0.7, 50.0, 0.5), Kind::Bends),
            (step(TWICE, 0.2, 50.0, 0.5), Kind::Collapses),
            (step(Trigger::Load(1.0), 0.9, 50.0, 0.5), Kind::NotOverloaded),
            (step(TWICE, 2.0, 50.0, 0.0), Kind::NotOverloaded),
            (step(Trigger::Load(1.0), 0.2, 50.0, 0.5), Kind::Collapses),
            (StepResult { kept_away: true, ..never.clone() }, Kind::Protected),
            (never, Kind::StaysDown),
            (brown_out, Kind::StaysDown),
            (down, Kind::StaysDown),
            (dead, Kind::Died),
        ] {
            let verdict = verdict(vec![step.clone()]);
            assert_eq!(verdict.kind, expected, "{step:?}");
            assert_eq!(verdict.lines.len(), 5);
        }
    }

    #[test]
    fn a_disturbed_step_puts_the_verdict_in_doubt() {
        let disturbed = StepResult { disturbed: true, ..step(TWICE, 0.95, 50.0, 0.5) };
        assert!(
            verdict(vec![disturbed]).in_doubt
                && !verdict(vec![step(TWICE, 0.95, 50.0, 0.5)]).in_doubt
        );
    }

    #[test]
    fn answers_that_look_unlike_those_without_load_put_the_verdict_in_doubt() {
        let unlike = StepResult { other_length_share: 0.96, ..step(TWICE, 0.95, 50.0, 0.0) };
        let doubt = verdict(vec![unlike]).doubt.expect("a doubt");
        assert!(doubt.contains("96 %") && doubt.contains("--expect"), "{doubt}");
    }

    #[test]
    fn a_service_that_the_search_has_ended_is_down() {
        let options = UrlOptions::parsed(&["http://127.0.0.1/"]).expect("options");
        let target = Target::of(&options).expect("a target");
        for (rest, expected) in
            [(Rest::Dead, Kind::Died), (Rest::Down("no answer in time".into()), Kind::StaysDown)]
        {
            let storm = Storm { capacity: 100.0, rest, ..Storm::new(&options, &target) };
            let verdict = Verdict::of(&storm);
            assert_eq!(verdict.kind, expected);
            assert!(verdict.lines[3].contains("search of the capacity"), "{:?}", verdict.lines);
        }
    }

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
            assert_eq!(telling(&truth), expected, "{truth:?}");
        }
    }
}
