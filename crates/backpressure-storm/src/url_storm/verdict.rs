//! The verdict: does the service stay up, does it come back, and does Retry-After tell the truth?

use crate::text::{milliseconds, percent};
use crate::url_storm::attempts::ClientKind;
use crate::url_storm::rest::Rest;
use crate::url_storm::steps::{StepResult, Trigger};
use crate::url_storm::storm::Storm;
use crate::url_storm::truth::Truth;
use serde::Serialize;
use tower_backpressure::RetryAfter;

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
    /// Other processes, or the generator itself, disturbed what the verdict stands on.
    pub(crate) in_doubt: bool,
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
        let in_doubt = storm.steps.iter().any(|step| step.disturbed || step.generator_limited);
        let recoveries: Vec<Option<f64>> = storm
            .steps
            .iter()
            .filter(|step| step.shows_recovery())
            .map(|step| step.recovered_s)
            .collect();
        let all_back: Option<Vec<f64>> = recoveries.into_iter().collect();
        let mut verdict = Self {
            kind,
            in_doubt,
            retry_after,
            lowest_naive: lowest(ClientKind::Naive),
            lowest_obedient: lowest(ClientKind::Obedient),
            slowest_recovery_s: all_back.and_then(|all| all.into_iter().reduce(f64::max)),
            lines: vec![],
        };
        verdict.lines = vec![
            sentence(storm, kind, in_doubt),
            capacity(storm),
            overload(storm, &overloads),
            back(&storm.steps),
            told(&truth, retry_after),
        ];
        verdict
    }
}

fn kind(storm: &Storm, overloads: &[&StepResult]) -> Kind {
    if storm.steps.iter().any(|step| step.rest == Rest::Dead) {
        return Kind::Died;
    }
    if storm.steps.iter().any(|step| matches!(step.rest, Rest::Down(_))) {
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

fn sentence(storm: &Storm, kind: Kind, in_doubt: bool) -> String {
    let says = match kind {
        Kind::NotOverloaded => "was not overloaded: nothing to say about overload",
        Kind::ConstantRate => {
            "stays up: it refuses above a constant rate, with next to nothing in flight. What it can really do is hidden behind that rate"
        }
        Kind::Protected => "stays up, and comes back by itself",
        Kind::Late => {
            "keeps its goodput, but answers just before clients give up: its queue has no useful bound"
        }
        Kind::Bends => "loses part of its goodput under overload, and comes back",
        Kind::Collapses => "collapses under load, and comes back when it is gone",
        Kind::StaysDown if storm.steps.iter().any(|step| matches!(step.rest, Rest::Down(_))) => {
            "goes down, and gives no good answer 30 s after the load is gone"
        }
        Kind::StaysDown => {
            "goes down, and does not come back while 0.8 of its capacity is offered: load has to be taken from it"
        }
        Kind::Died => "died: nothing listens any more",
    };
    let doubt = if in_doubt {
        " In doubt: something else was busy on this machine, see below."
    } else {
        ""
    };
    format!("{} {says}.{doubt}", storm.url)
}

fn capacity(storm: &Storm) -> String {
    let alone = format!("one at a time takes {}", milliseconds(storm.uncontended_p50_ms));
    match &storm.not_reached {
        Some(why) => format!(
            "Capacity: at least {:.0} requests a second, and more were not offered: {why}; {alone}.",
            storm.capacity
        ),
        None if storm.steps.is_empty() => {
            format!("Capacity: about {:.0} requests a second; {alone}.", storm.capacity)
        }
        None => format!("Capacity: {:.0} requests a second; {alone}.", storm.capacity),
    }
}

fn overload(storm: &Storm, overloads: &[&StepResult]) -> String {
    let worst = |kind: ClientKind| {
        let steps = overloads.iter().filter(|step| step.kind == kind);
        let worst =
            steps.min_by(|a, b| a.goodput_over_possible.total_cmp(&b.goodput_over_possible))?;
        let p99 = worst
            .p99_ms
            .map_or_else(|| "no answer in time".into(), |p99| format!("p99 {}", milliseconds(p99)));
        Some(format!(
            "{} at {} with {} clients ({p99})",
            percent(worst.goodput_over_possible),
            worst.step,
            kind.name()
        ))
    };
    let worst: Vec<String> = ClientKind::ALL.into_iter().filter_map(worst).collect();
    if worst.is_empty() {
        return format!(
            "Overload: none was offered. Answers count within {:.0} ms.",
            storm.deadline_ms
        );
    }
    format!("Goodput under overload, lowest: {} of what is possible.", worst.join(", "))
}

fn back(steps: &[StepResult]) -> String {
    let triggered: Vec<&StepResult> = steps.iter().filter(|step| step.shows_recovery()).collect();
    let name = |step: &StepResult| match step.trigger {
        Trigger::BrownOut => format!("the brown-out with {} clients", step.clients),
        Trigger::Load(_) | Trigger::Told => format!("{} with {} clients", step.step, step.clients),
    };
    let never: Vec<String> =
        triggered.iter().filter(|step| step.stays_down()).map(|step| name(step)).collect();
    if let Some(down) = steps.iter().find(|step| matches!(step.rest, Rest::Down(_))) {
        return format!("Coming back: not within 30 s without load, after {}.", name(down));
    }
    if !never.is_empty() {
        return format!(
            "Coming back: not within the time that was watched after {}.",
            never.join(", ")
        );
    }
    let away: Vec<String> = triggered
        .iter()
        .filter(|step| step.kept_away && step.recovered_s.is_none())
        .map(|step| name(step))
        .collect();
    if !away.is_empty() {
        return format!(
            "Coming back: the service answers, but its clients still sent less than was due at the end of the time watched after {}.",
            away.join(", ")
        );
    }
    let slowest = triggered
        .iter()
        .filter_map(|step| Some((step.recovered_s?, name(step))))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match slowest {
        None => "Coming back: nothing to come back from.".into(),
        Some((seconds, _)) if seconds < 1e-3 => "Coming back: at once, after each overload.".into(),
        Some((seconds, after)) => format!(
            "Coming back: within {seconds:.2} s of the end of each overload; the slowest was after {after}."
        ),
    }
}

fn told(truth: &Truth, telling: Telling) -> String {
    let share = |part: u32, whole: u32| percent(f64::from(part) / f64::from(whole.max(1)));
    let times = if truth.told_p50_s == truth.told_max_s {
        format!("told {}", told_time(truth.told_max_s))
    } else {
        let (median, longest) = (told_time(truth.told_p50_s), told_time(truth.told_max_s));
        format!("told {median} in the median, and the longest {longest}")
    };
    let let_in = if truth.came_back == 0 {
        "no client came back in the time watched".into()
    } else {
        format!(
            "{} of {} clients that came back when told were let in",
            truth.let_in, truth.came_back
        )
    };
    let longer = truth.too_long_p50_s.map_or_else(String::new, |seconds| {
        if seconds >= 0.0 {
            format!("; in the median {seconds:.1} s more than was needed")
        } else {
            format!("; in the median {:.1} s less than was needed", -seconds)
        }
    });
    match telling {
        Telling::NoRefusals => {
            "Retry-After: nothing was refused, so that no client was told to wait.".into()
        }
        Telling::NotTold => format!(
            "Retry-After: {} of the refusals tell when to come back.",
            share(truth.told, truth.refusals)
        ),
        Telling::NotChecked => {
            format!("Retry-After: {times}; too few clients came back to check it{longer}.")
        }
        Telling::Truth => format!("Retry-After tells the truth: {let_in} ({times}{longer})."),
        Telling::TooEarly => format!("Retry-After is too short: {let_in} ({times}{longer})."),
        Telling::TooLong => format!("Retry-After is too long: {let_in} ({times}{longer})."),
    }
}

/// A time that was told, in words. Clients read no longer one than [`RetryAfter::MAX`].
fn told_time(seconds: Option<f64>) -> String {
    let seconds = seconds.unwrap_or(0.0);
    let or_more = if seconds >= RetryAfter::MAX.as_secs_f64() { " or more" } else { "" };
    format!("{seconds:.1} s{or_more}")
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
