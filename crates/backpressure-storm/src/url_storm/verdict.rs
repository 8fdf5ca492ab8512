//! The verdict: does the service stay up, does it come back, and does Retry-After tell the truth?

use crate::text::percent;
use crate::url_storm::attempts::ClientKind;
use crate::url_storm::kind::Kind;
use crate::url_storm::sentences::{back, capacity, headline, overload, told};
use crate::url_storm::steps::StepResult;
use crate::url_storm::storm::Storm;
use crate::url_storm::telling::{Telling, truth};
use serde::Serialize;

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

/// Share of good answers with another length that says they may be no good answers: more than pages that differ.
const UNLIKE: f64 = 0.05;

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
        let retry_after = Telling::of(&truth);
        let kind = Kind::of(storm, &overloads);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::Window;
    use crate::url_storm::options::UrlOptions;
    use crate::url_storm::rest::Rest;
    use crate::url_storm::target::Target;
    use crate::url_storm::trigger::Trigger;
    use crate::url_storm::truth::Truth;
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
}
