//! From the events of a run to its figures.

use crate::calibrate::Calibration;
use crate::event_log::{Counts, Event, Window, latencies, percentile};
use crate::plan::Entry;
use crate::scenario::SLOWER;
use serde::Serialize;
use std::time::Duration;

/// A run, as in the report. Rates are per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) stack: &'static str,
    /// Requests that were due.
    pub(crate) offered: f64,
    /// Requests that were answered in time.
    pub(crate) goodput: f64,
    /// Goodput over what is physically possible.
    pub(crate) goodput_over_ceiling: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) p99_over_uncontended: Option<f64>,
    /// Attempts that were rejected.
    pub(crate) shed: f64,
    pub(crate) attempts_per_request: f64,
    /// Seconds from the end of the brown-out; `None` if there was none, or the service did not recover.
    pub(crate) recovered_s: Option<f64>,
    /// Requests a second that the service can do, from the calibration.
    pub(crate) capacity: f64,
    /// CPU time of the server per rejection, from the calibration.
    pub(crate) refusal_us: f64,
    /// Longest useful latency of one attempt.
    pub(crate) deadline_ms: f64,
    /// CPUs of the storm that other processes and the hypervisor took meanwhile; `None` if the system does not say.
    pub(crate) others_cpus: Option<f64>,
    /// That was so much that the figures are in doubt.
    pub(crate) disturbed: bool,
    /// Runs that were thrown away because they were disturbed more.
    pub(crate) repeated: u32,
}

impl Run {
    /// Scores what happened in `window`, in which the work was slow during `slow`.
    pub(crate) fn of(
        entry: Entry,
        calibration: &Calibration,
        deadline: Duration,
        events: &[Event],
        window: Window,
        slow: Option<Window>,
    ) -> Self {
        let counts = Counts::within(events, window);
        let rate = |count: u32| f64::from(count) / window.seconds();
        let ceiling = best_possible(rate(counts.offered), calibration, window, slow);
        let answered = latencies(events, window);
        let milliseconds =
            |share| percentile(&answered, share).map(|latency| latency.as_secs_f64() * 1e3);
        let p99 = milliseconds(0.99);
        Self {
            scenario: entry.scenario.name(),
            handler: entry.handler.name(),
            stack: entry.stack.name(),
            offered: rounded(rate(counts.offered)),
            goodput: rounded(rate(counts.answered)),
            goodput_over_ceiling: rounded(over(rate(counts.answered), ceiling)),
            p50_ms: milliseconds(0.5).map(rounded),
            p99_ms: p99.map(rounded),
            p99_over_uncontended: p99
                .map(|p99| rounded(over(p99, calibration.uncontended_p99.as_secs_f64() * 1e3))),
            shed: rounded(rate(counts.refused)),
            attempts_per_request: rounded(over(f64::from(counts.sent), f64::from(counts.offered))),
            recovered_s: None,
            capacity: rounded(calibration.capacity),
            refusal_us: rounded(calibration.refusal.as_secs_f64() * 1e6),
            deadline_ms: rounded(deadline.as_secs_f64() * 1e3),
            others_cpus: None,
            disturbed: false,
            repeated: 0,
        }
    }
}

/// Share of the capacity that can be goodput at `load` times the capacity, if a rejection costs `r` of a
/// request.
pub(crate) fn ceiling(load: f64, r: f64) -> f64 {
    load.min((1.0 - load * r) / (1.0 - r)).max(0.0)
}

/// The goodput that is possible at this offered rate. While work is slow, the capacity is lower, and a
/// rejection costs less of a request.
fn best_possible(
    offered: f64,
    calibration: &Calibration,
    window: Window,
    slow: Option<Window>,
) -> f64 {
    let possible = |capacity: f64, r: f64| capacity * ceiling(offered / capacity, r);
    let normal = possible(calibration.capacity, calibration.r());
    let Some(slow) = slow else { return normal };
    let factor = SLOWER as f64;
    let share = slow.seconds() / window.seconds();
    share * possible(calibration.capacity / factor, calibration.r() / factor)
        + (1.0 - share) * normal
}

/// Buckets over which recovery is judged: one second.
pub(crate) const SMOOTH: usize = 4;

/// Seconds from the first of these buckets until goodput has recovered: 95 % of the requests due over
/// [`SMOOTH`] buckets, and 90 % from there to the end; of `usual`, the share that is answered without a trigger.
pub(crate) fn recovery(after: &[Counts], bucket: Duration, usual: f64) -> Option<f64> {
    let back = after.windows(SMOOTH).enumerate().position(|(start, first)| {
        let holds = |buckets: &[Counts], share: f64| {
            let sum = |of: fn(&Counts) -> u32| buckets.iter().map(of).sum::<u32>();
            f64::from(sum(|bucket| bucket.answered))
                >= share * usual * f64::from(sum(|bucket| bucket.offered))
        };
        holds(first, 0.95) && holds(&after[start..], 0.90)
    })?;
    Some(rounded(back as f64 * bucket.as_secs_f64()))
}

/// A part of a whole, or 0 of nothing.
pub(crate) fn over(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Rounded to three decimals, more than the precision of the measurement.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::EventKind;
    use crate::handler::Handler;
    use crate::scenario::Scenario;
    use crate::stack::Stack;

    const CALIBRATION: Calibration = Calibration {
        handler: Handler::Cpu,
        capacity: 200.0,
        service: Duration::from_millis(5),
        refusal: Duration::from_micros(10),
        uncontended_p50: Duration::from_millis(5),
        uncontended_p99: Duration::from_millis(6),
        tower_limit: None,
    };
    const SECOND: Window = Window { from: Duration::ZERO, to: Duration::from_secs(1) };

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn below_capacity_every_request_can_be_answered() {
        assert!(close(ceiling(0.5, 0.01), 0.5));
        assert!(close(ceiling(1.0, 0.01), 1.0));
    }

    #[test]
    fn rejections_cost_capacity_and_in_the_end_all_of_it() {
        assert!(close(ceiling(10.0, 0.01), 0.9 / 0.99));
        assert!(close(ceiling(100.0, 0.01), 0.0));
        assert!(close(ceiling(1000.0, 0.01), 0.0));
        assert!(close(ceiling(1000.0, 0.0), 1.0));
    }

    #[test]
    fn a_brown_out_lowers_the_ceiling_for_its_share_of_the_time() {
        let slow = Window { from: Duration::ZERO, to: Duration::from_millis(500) };
        let possible = best_possible(160.0, &CALIBRATION, SECOND, Some(slow));
        let dark = 25.0 * ceiling(160.0 / 25.0, 0.002 / 8.0);
        assert!(close(possible, (dark + 160.0) / 2.0));
    }

    fn buckets(answered: &[u32]) -> Vec<Counts> {
        answered
            .iter()
            .map(|&answered| Counts { offered: 40, answered, ..Counts::default() })
            .collect()
    }

    fn back(answered: &[u32]) -> Option<f64> {
        recovery(&buckets(answered), Duration::from_millis(250), 1.0)
    }

    #[test]
    fn recovery_is_the_first_second_that_is_good_and_stays_good() {
        assert_eq!(back(&[40; 12]), Some(0.0));
        assert_eq!(back(&[0, 0, 0, 0, 38, 38, 38, 38, 40, 40, 40, 40]), Some(1.0));
    }

    #[test]
    fn a_good_second_that_does_not_last_is_no_recovery() {
        assert_eq!(back(&[40, 40, 40, 40, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(back(&[40, 40, 40, 40, 0, 0, 0, 0, 40, 40, 40, 40]), Some(2.0));
    }

    #[test]
    fn a_service_that_stays_down_has_no_recovery() {
        assert_eq!(back(&[2; 32]), None);
        assert_eq!(back(&[]), None);
    }

    fn run(events: &[Event]) -> Run {
        let entry = Entry { handler: Handler::Cpu, scenario: Scenario::Two, stack: Stack::Bare };
        Run::of(entry, &CALIBRATION, Duration::from_secs(1), events, SECOND, None)
    }

    #[test]
    fn a_run_counts_the_events_within_its_window() {
        let at = Duration::from_millis(500);
        let event = |kind| Event { at, kind };
        let mut events = vec![event(EventKind::Offered); 400];
        events.extend(vec![event(EventKind::Sent); 400]);
        events.extend(vec![event(EventKind::Refused); 201]);
        events.extend(vec![event(EventKind::Answered(Duration::from_millis(12))); 199]);
        events.push(Event { at: Duration::from_secs(2), kind: EventKind::Refused });
        let run = run(&events);
        assert_eq!((run.offered, run.goodput, run.shed), (400.0, 199.0, 201.0));
        assert_eq!((run.p50_ms, run.p99_over_uncontended), (Some(12.0), Some(2.0)));
        assert_eq!(run.attempts_per_request, 1.0);
        assert!((run.goodput_over_ceiling - 199.0 / (200.0 * (1.0 - 0.004) / 0.998)).abs() < 1e-3);
    }

    #[test]
    fn the_report_has_these_fields_in_this_order_and_null_for_missing_figures() {
        let json = serde_json::to_string(&run(&[])).unwrap();
        assert_eq!(
            json,
            r#"{"scenario":"2x","handler":"cpu","stack":"bare","offered":0.0,"goodput":0.0,"goodput_over_ceiling":0.0,"p50_ms":null,"p99_ms":null,"p99_over_uncontended":null,"shed":0.0,"attempts_per_request":0.0,"recovered_s":null,"capacity":200.0,"refusal_us":10.0,"deadline_ms":1000.0,"others_cpus":null,"disturbed":false,"repeated":0}"#
        );
    }
}
