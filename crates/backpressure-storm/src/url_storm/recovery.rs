//! Whether goodput comes back after an overload, and whether clients kept away.

use crate::event_log::Counts;
use crate::score::{over, recovery};
use crate::url_storm::phases::Phases;
use crate::url_storm::rest::Rest;
use std::time::Duration;

/// Bucket of a timeline: a quarter of the span over which recovery is judged.
pub(crate) const BUCKET: Duration = Duration::from_millis(250);

/// Seconds from the end of the trigger until as large a share is answered as before it.
pub(crate) fn recovered(timeline: &[Counts], phases: &Phases, rest: &Rest) -> Option<f64> {
    if !rest.is_up() {
        return None;
    }
    let bucket = |at| bucket(timeline, at);
    // The first buckets have requests that are not answered yet.
    let before = &timeline[bucket(phases.before / 4)..bucket(phases.before)];
    let sum = |of: fn(&Counts) -> u32| f64::from(before.iter().map(of).sum::<u32>());
    let usual = over(sum(|counts| counts.answered), sum(|counts| counts.offered)).min(1.0);
    recovery(&timeline[bucket(phases.trigger().to)..], BUCKET, usual)
}

/// Whether clients stayed away from a service that answers: in the second half of the time after the trigger they
/// sent fewer attempts than requests were due, and most of those were answered. A service that is down has as few
/// attempts from clients that back off, and answers none.
pub(crate) fn kept_away(timeline: &[Counts], phases: &Phases) -> bool {
    let from = bucket(timeline, phases.trigger().to + phases.after / 2);
    let sum = |of: fn(&Counts) -> u32| timeline[from..].iter().map(of).sum::<u32>();
    let (offered, sent) = (sum(|counts| counts.offered), sum(|counts| counts.sent));
    sent < offered && sum(|counts| counts.answered) * 2 > sent
}

/// The bucket of a timeline in which this time lies.
fn bucket(timeline: &[Counts], at: Duration) -> usize {
    ((at.as_nanos() / BUCKET.as_nanos()) as usize).min(timeline.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: Phases = Phases {
        before: Duration::from_secs(1),
        settle: Duration::ZERO,
        window: Duration::from_secs(1),
        after: Duration::from_secs(2),
    };

    fn after(offered: u32, sent: u32, answered: u32) -> Vec<Counts> {
        vec![Counts { offered, sent, answered, ..Counts::default() }; 16]
    }

    #[test]
    fn clients_that_stay_away_are_told_from_a_service_that_is_down() {
        assert!(kept_away(&after(100, 40, 36), &PHASES), "few attempts, nearly all answered");
        assert!(
            !kept_away(&after(100, 40, 2), &PHASES),
            "clients that back off from a service that is down"
        );
        assert!(!kept_away(&after(100, 380, 20), &PHASES), "a retry storm");
        assert!(!kept_away(&after(100, 0, 0), &PHASES), "no attempt shows nothing");
        assert!(!kept_away(&[], &PHASES));
    }
}
