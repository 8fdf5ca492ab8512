//! The sentences of a verdict.

use crate::text::{milliseconds, percent};
use crate::url_storm::attempts::ClientKind;
use crate::url_storm::kind::Kind;
use crate::url_storm::rest::Rest;
use crate::url_storm::steps::StepResult;
use crate::url_storm::storm::Storm;
use crate::url_storm::telling::Telling;
use crate::url_storm::trigger::Trigger;
use crate::url_storm::truth::Truth;
use tower_backpressure::RetryAfter;

/// Share of attempts without any answer in time that is worth a sentence.
const TELLING_SHARE: f64 = 0.1;

/// What the service does under overload.
pub(super) fn headline(storm: &Storm, kind: Kind) -> String {
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
        Kind::StaysDown if storm.rests().any(|rest| matches!(rest, Rest::Down(_))) => {
            "goes down, and gives no good answer 30 s after the load is gone"
        }
        Kind::StaysDown => {
            "goes down, and does not come back while 0.8 of its capacity is offered: load has to be taken from it"
        }
        Kind::Died => "died: nothing listens any more",
    };
    format!("{} {says}.", storm.url)
}

pub(super) fn capacity(storm: &Storm) -> String {
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

pub(super) fn overload(storm: &Storm, overloads: &[&StepResult]) -> String {
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
    let unanswered = overloads.iter().map(|step| step.late_share).fold(0.0, f64::max);
    let unanswered = if unanswered > TELLING_SHARE {
        format!(
            " Up to {} of the attempts got neither an answer in time nor a refusal.",
            percent(unanswered)
        )
    } else {
        String::new()
    };
    format!("Goodput under overload, lowest: {} of what is possible.{unanswered}", worst.join(", "))
}

pub(super) fn back(storm: &Storm) -> String {
    let steps = &storm.steps;
    if !storm.rest.is_up() {
        return "Coming back: not within 30 s without load, after the search of the capacity."
            .into();
    }
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

pub(super) fn told(truth: &Truth, telling: Telling) -> String {
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
