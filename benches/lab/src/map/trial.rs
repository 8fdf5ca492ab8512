//! Runs one cell.

use crate::controller::catalogue;
use crate::map::grid::Place;
use crate::map::result::Cell;
use crate::map::scenario::{RESPITE, Setting, WARM_UP, WATCHED, scenario};
use crate::world;
use crate::world::journal::{AttemptOutcome, Journal};
use crate::world::plan::Plan;

/// Share of requests answered below which a service counts as down.
const BACK: f64 = 0.9;
/// Requests sent within this many seconds are counted together.
const SPAN: f64 = 0.5;

/// Runs a cell and scores it.
pub(crate) fn trial(place: &Place, setting: Setting) -> Result<Cell, String> {
    let controller = if place.guarded() { "ours" } else { "none" };
    let entry = catalogue::find(controller).ok_or("the controller is missing")?;
    let plan = Plan::of(&scenario(place, setting)?);
    Ok(judged(*place, &world::simulate(&plan, &entry.make, setting.seed)))
}

fn judged(place: Place, journal: &Journal) -> Cell {
    let over = WARM_UP + place.trigger_s;
    let answered = answered(journal);
    let asked: Vec<(f64, bool)> = journal
        .asked
        .iter()
        .zip(answered)
        .map(|(asked, answered)| (asked.at as f64 * 1e-9 - over, answered))
        .collect();
    let goodput = share(&asked, RESPITE, RESPITE + WATCHED);
    Cell {
        place,
        goodput,
        metastable: goodput < BACK,
        recovery_s: recovery(&asked),
        attempts: journal.ended.len() as f64 / journal.asked.len().max(1) as f64,
    }
}

/// Which of the requests were answered in the end.
fn answered(journal: &Journal) -> Vec<bool> {
    let mut answered = vec![false; journal.asked.len()];
    for ended in journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered) {
        answered[ended.request as usize] = true;
    }
    answered
}

/// Share of the requests sent between two moments that were answered; 1 if there were none.
fn share(asked: &[(f64, bool)], from: f64, to: f64) -> f64 {
    let within = asked.iter().filter(|(at, _)| (from..to).contains(at));
    let (all, good) =
        within.fold((0, 0), |(all, good), (_, answered)| (all + 1, good + i32::from(*answered)));
    if all == 0 { 1.0 } else { f64::from(good) / f64::from(all) }
}

/// End of the last span in which too few were answered; `None` if that is the last span of all.
fn recovery(asked: &[(f64, bool)]) -> Option<f64> {
    let spans = ((RESPITE + WATCHED) / SPAN) as u32;
    let start = |span: u32| f64::from(span) * SPAN;
    let bad = |span: &u32| share(asked, start(*span), start(*span + 1)) < BACK;
    match (0..spans).rev().find(bad) {
        None => Some(0.0),
        Some(last) if last + 1 == spans => None,
        Some(last) => Some(start(last + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::grid::{Layers, Policy, Strength};

    #[test]
    fn a_service_without_the_layers_stays_down_and_with_both_recovers() {
        let cell = |layers: Layers, policy: Policy| {
            let trigger = Strength::Capacity(0.0);
            let place = Place { layers, policy, load: 0.7, trigger, trigger_s: 3.0 };
            trial(&place, Setting { seed: 1, opaque: false }).expect("it is sound")
        };
        let bare = cell(Layers::Neither, Policy::Naive3);
        assert!(bare.metastable && bare.goodput < 0.1 && bare.attempts > 3.0, "{bare:?}");
        let both = cell(Layers::Both, Policy::Ours);
        assert!(!both.metastable && both.recovery_s.is_some() && both.attempts < 1.2, "{both:?}");
    }

    #[test]
    fn a_service_has_recovered_when_the_last_bad_span_is_over() {
        let asked = |lost: std::ops::Range<f64>| -> Vec<(f64, bool)> {
            (0..3_000).map(|n| f64::from(n) / 100.0).map(|at| (at, !lost.contains(&at))).collect()
        };
        assert_eq!(recovery(&asked(-1.0..-0.5)), Some(0.0));
        assert_eq!(recovery(&asked(0.0..2.3)), Some(2.5));
        assert_eq!(recovery(&asked(0.0..40.0)), None);
    }
}
