//! Whether Retry-After told the truth: were clients that came back when told let in, and could they have come earlier?

use crate::event_log::Window;
use crate::score::rounded;
use crate::url_storm::tally::{Kept, Refusal};
use serde::Serialize;
use std::time::Duration;

/// What refusals told, and whether it was true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Truth {
    pub(crate) refusals: u32,
    /// Refusals that told a time to come back.
    pub(crate) told: u32,
    pub(crate) told_p50_s: Option<f64>,
    pub(crate) told_max_s: Option<f64>,
    /// Attempts that came back when told, and not earlier.
    pub(crate) came_back: u32,
    /// Of those, answered.
    pub(crate) let_in: u32,
    /// Attempts that came back earlier than told.
    pub(crate) came_early: u32,
    /// Of those, answered.
    pub(crate) let_in_early: u32,
    /// How much later than necessary clients were told to come back, in the median; negative if too early. Only where a
    /// step was made to see it.
    pub(crate) too_long_p50_s: Option<f64>,
}

/// What a service needs to serve the clients that it refused in an overload: those that come back at a constant rate
/// from its end on, as fast as the service can serve them beside its usual load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    trigger: Window,
    /// When half of them can have been served.
    half: Duration,
}

impl Needed {
    /// For so many `refused` clients and a service with so much `room`, in requests a second, after the `trigger`.
    pub(crate) fn of(trigger: Window, refused: u32, room: f64) -> Self {
        let lasts = Duration::try_from_secs_f64(f64::from(refused) / room.max(1e-3))
            .unwrap_or(Duration::MAX);
        Self { trigger, half: trigger.to.saturating_add(lasts / 2) }
    }
}

impl Truth {
    pub(crate) fn of(kept: &Kept, needed: Option<Needed>) -> Self {
        let mut told: Vec<Duration> =
            kept.refusals.iter().filter_map(|refusal| refusal.told).collect();
        told.sort_unstable();
        let count = |obeyed: bool, let_in: bool| {
            let some = kept
                .returns
                .iter()
                .filter(|back| back.obeyed == obeyed && (back.let_in || !let_in));
            some.count() as u32
        };
        Self {
            refusals: kept.refusals.len() as u32,
            told: told.len() as u32,
            told_p50_s: told.get(told.len() / 2).map(|told| rounded(told.as_secs_f64())),
            told_max_s: told.last().map(|told| rounded(told.as_secs_f64())),
            came_back: count(true, false),
            let_in: count(true, true),
            came_early: count(false, false),
            let_in_early: count(false, true),
            too_long_p50_s: needed.and_then(|needed| too_long(&kept.refusals, needed)).map(rounded),
        }
    }
}

/// The median of the times to come back that refusals in the overload told, less when half of the refused clients can
/// have been served.
fn too_long(refusals: &[Refusal], needed: Needed) -> Option<f64> {
    let mut told: Vec<Duration> = refusals
        .iter()
        .filter(|refusal| needed.trigger.contains(refusal.at))
        .filter_map(|refusal| Some(refusal.at + refusal.told?))
        .collect();
    told.sort_unstable();
    Some(told.get(told.len() / 2)?.as_secs_f64() - needed.half.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url_storm::tally::Return;

    const SECOND: Duration = Duration::from_secs(1);

    const TRIGGER: Window = Window { from: SECOND, to: Duration::from_secs(3) };

    fn kept(told: &[u64]) -> Kept {
        let at = Duration::from_millis(1500);
        let refusals =
            told.iter().map(|&told| Refusal { at, told: Some(Duration::from_secs(told)) });
        Kept { refusals: refusals.collect(), ..Kept::default() }
    }

    #[test]
    fn a_time_is_too_long_by_what_it_exceeds_the_time_to_serve_those_refused() {
        // 100 clients and room for 25 a second: half of them are served two seconds after the overload.
        let needed = Needed::of(TRIGGER, 100, 25.0);
        assert_eq!(Truth::of(&kept(&[2, 4, 8]), Some(needed)).too_long_p50_s, Some(0.5));
        assert_eq!(Truth::of(&kept(&[1, 1, 1]), Some(needed)).too_long_p50_s, Some(-2.5));
        assert_eq!(Truth::of(&kept(&[]), Some(needed)).too_long_p50_s, None);
        assert_eq!(Truth::of(&kept(&[2]), None).too_long_p50_s, None);
    }

    #[test]
    fn attempts_that_came_back_when_told_are_kept_apart_from_early_ones() {
        let back = |obeyed, let_in| Return { told: SECOND, obeyed, let_in };
        let returns = vec![back(true, true), back(true, false), back(false, false)];
        let kept = Kept { returns, ..Kept::default() };
        let truth = Truth::of(&kept, None);
        assert_eq!(
            (truth.came_back, truth.let_in, truth.came_early, truth.let_in_early),
            (2, 1, 1, 0)
        );
    }
}
