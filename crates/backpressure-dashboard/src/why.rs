//! Why a limit is what it is: a sentence with the numbers.

use std::time::Duration;

use tower_backpressure::observe::{Kind, LimiterReport};
use tower_backpressure::{Cause, LimitChange, Mode};

/// Limits up to this number can be set; a maximum of it is none.
const NO_MAXIMUM: usize = 1_000_000;

/// Why a limiter admits as many requests as it does.
pub(crate) fn why(kind: Kind, limiter: &LimiterReport) -> String {
    let LimiterReport { limit, min, max, .. } = *limiter;
    match limiter.mode {
        Mode::Paused(_) => {
            return "An operator has paused it: requests wait, and none starts.".to_owned();
        }
        Mode::Draining => {
            return "It drains: new requests are rejected, and those in the queue are served."
                .to_owned();
        }
        Mode::Stopped => {
            return "An operator has stopped it: all new requests are rejected.".to_owned();
        }
        _ => {}
    }
    if min == max {
        return format!("Pinned to {limit}: it does not change until it is unpinned.");
    }
    if !limiter.adapts && kind == Kind::Compartment {
        return format!(
            "It has {limit} permits now: its own, and what it borrows from other compartments."
        );
    }
    if !limiter.adapts {
        return format!("Set to {limit} in the program. It does not adapt.");
    }
    let Some((change, age)) = limiter.last_change else {
        return format!("The limit is {limit}. No measurement has asked for another one yet.");
    };
    let bound = match limit {
        _ if limit == change.to => String::new(),
        _ if limit == max && max < NO_MAXIMUM => format!(" Its maximum keeps it at {max}."),
        _ if limit == min => format!(" Its minimum keeps it at {min}."),
        _ => format!(" It is at {limit} now."),
    };
    format!("{} {}, {}.{bound}", cause(&change.cause), step(&change), ago(age))
}

fn step(change: &LimitChange) -> String {
    let LimitChange { from, to, .. } = *change;
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => format!("So the limit rose from {from} to {to}"),
        std::cmp::Ordering::Less => format!("So the limit fell from {from} to {to}"),
        std::cmp::Ordering::Equal => format!("So the limit stayed at {to}"),
    }
}

fn cause(cause: &Cause) -> String {
    match *cause {
        Cause::RunQueue { waited, useful } => format!(
            "Requests spent {} of their time waiting for a worker thread, and {useful:.1} of them did useful work at \
             once.",
            percent(waited)
        ),
        Cause::Experiment { limits: (low, high), elasticity, error } => {
            let verdict = match elasticity {
                share if share > 0.7 => "more in flight mostly waited longer",
                share if share < 0.3 => "more in flight did more work",
                _ => "more in flight did some more work, and waited longer",
            };
            format!(
                "Between {low:.0} and {high:.0} in flight, {} (± {:.0}) of the difference was waiting: {verdict}.",
                percent(elasticity),
                100.0 * error.abs().min(9.99)
            )
        }
        Cause::Change { latency: (now, usual) } => {
            format!("Responses took {} and had taken {}.", seconds(now), seconds(usual))
        }
        Cause::Pushback { rejected } => {
            format!("The service behind it rejected {} of the requests.", percent(rejected))
        }
        Cause::Demand { overloaded: true } => "More requests arrive than can be served.".to_owned(),
        Cause::Demand { overloaded: false } => {
            "All requests that arrive can be served again.".to_owned()
        }
        Cause::Idle => "Far fewer requests arrive than the limit allows.".to_owned(),
        Cause::Stalled => {
            "The limit was reached while workers were idle and hardly any request ended.".to_owned()
        }
        Cause::Abandoned { share } => {
            format!("{} of the callers left before their response.", percent(share))
        }
        _ => "A measurement asked for it.".to_owned(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share.clamp(-9.99, 9.99))
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// How long ago, in words.
pub(crate) fn ago(age: Duration) -> String {
    match age.as_secs() {
        0 => "just now".to_owned(),
        seconds @ 1..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7_199 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower_backpressure::AdmissionLayer;
    use tower_backpressure::observe::Registry;

    fn of(layer: &AdmissionLayer) -> String {
        let report = Registry::global().report(layer.handle().id()).expect("the layer exists");
        why(report.kind, &report.limiter.expect("it has a limiter"))
    }

    #[test]
    fn each_reason_is_a_sentence_with_its_numbers() {
        let fixed = AdmissionLayer::fixed("why", 7);
        assert_eq!(of(&fixed), "Set to 7 in the program. It does not adapt.");
        fixed.handle().pin(3);
        assert_eq!(of(&fixed), "Pinned to 3: it does not change until it is unpinned.");
        fixed.handle().stop();
        assert_eq!(of(&fixed), "An operator has stopped it: all new requests are rejected.");
        let adaptive = AdmissionLayer::adaptive("why").initial(12);
        assert!(of(&adaptive).starts_with("The limit is 12."), "{}", of(&adaptive));
        let experiment = Cause::Experiment { limits: (15.2, 18.0), elasticity: 0.91, error: 0.08 };
        assert_eq!(
            cause(&experiment),
            "Between 15 and 18 in flight, 91 % (± 8) of the difference was waiting: more in flight mostly waited longer."
        );
        let run_queue = Cause::RunQueue { waited: 0.344, useful: 7.23 };
        assert_eq!(
            cause(&run_queue),
            "Requests spent 34 % of their time waiting for a worker thread, and 7.2 of them did useful work at once."
        );
        let change = Cause::Change { latency: (0.25, 0.02) };
        assert_eq!(cause(&change), "Responses took 250 ms and had taken 20 ms.");
    }

    #[test]
    fn ages_are_relative_and_short() {
        let of = |seconds| ago(Duration::from_secs(seconds));
        assert_eq!(
            [of(0), of(59), of(600), of(86_400)],
            ["just now", "59 s ago", "10 min ago", "24 h ago"]
        );
    }
}
