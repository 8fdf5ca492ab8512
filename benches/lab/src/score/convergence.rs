//! How long goodput takes to come back to the ceiling after a change.

use crate::world::journal::{AttemptOutcome, Journal};
use crate::world::plan::Plan;

use super::NANO;
use super::oracle::Oracle;

/// Share of the ceiling that counts as converged.
const ARRIVED: f64 = 0.95;
/// Shortest window, in seconds and in residence times.
const SHORTEST: f64 = 0.25;
const RESIDENCES: f64 = 3.0;
/// Fewest requests per window at capacity: with fewer, chance alone moves them past the threshold.
const REQUESTS: f64 = 100.0;
/// A window in which the ceiling is below this share of the capacity is ignored.
const IDLE: f64 = 0.1;
/// Standard deviations that are attributed to chance.
const CHANCE: f64 = 2.0;
/// Fewest short windows in a row that are not attributed to chance.
const RUN: usize = 3;
const MOST_CHANCE: f64 = 0.2;

/// Seconds from the last change until goodput is at the ceiling and stays there; `None`: nothing changes, or
/// goodput never gets there.
pub(super) fn converge(plan: &Plan, journal: &Journal) -> Option<f64> {
    let change = plan.change?;
    let (rate, knee) = (plan.requests.at(change), plan.knee.at(change));
    if rate <= 0.0 {
        return None;
    }
    let length = SHORTEST.max(RESIDENCES * knee / rate).max(REQUESTS / rate);
    let count = ((plan.seconds - change) / length).floor() as usize;
    let mut windows = vec![Window::default(); count];
    fill(plan, journal, change, length, &mut windows);
    // Requests in progress at either end of a window count in another window.
    let chance = CHANCE * (2.0 * knee).sqrt() / (rate * length);
    let threshold = ARRIVED - chance.min(MOST_CHANCE);
    let short = |at: usize| {
        let from = change + at as f64 * length;
        let possible = plan.capacity.integral(from + length) - plan.capacity.integral(from);
        let Window { good, offered, ceiling } = windows[at];
        let target = ceiling.min(offered);
        target > IDLE * possible && good < threshold * target
    };
    let shorts: Vec<bool> = (0..count).map(short).collect();
    let settled = settled(&shorts);
    (settled < count).then_some(settled as f64 * length)
}

/// The first window from which goodput stays: after the short windows that follow the change, and after the
/// last [`RUN`] short windows in a row.
fn settled(shorts: &[bool]) -> usize {
    let leading = shorts.iter().take_while(|short| **short).count();
    let last_run = shorts.windows(RUN).rposition(|run| run.iter().all(|short| *short));
    last_run.map_or(leading, |start| leading.max(start + RUN))
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    good: f64,
    /// The clairvoyant may still work on earlier requests; a controller does not have to.
    offered: f64,
    ceiling: f64,
}

fn fill(plan: &Plan, journal: &Journal, change: f64, length: f64, windows: &mut [Window]) {
    let answered = journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered);
    for ended in answered {
        let at = (ended.at as f64 * NANO - change) / length;
        if at >= 0.0
            && let Some(window) = windows.get_mut(at as usize)
        {
            window.good += journal.asked[ended.request as usize].work;
        }
    }
    let mut oracle = Oracle::new(plan);
    let mut asked = journal.asked.iter().peekable();
    let mut before = None;
    for (n, window) in windows.iter_mut().enumerate() {
        let start = change + n as f64 * length;
        let end = start + length;
        while let Some(next) = asked.next_if(|asked| (asked.at as f64) * NANO < end) {
            if before.is_none() && next.at as f64 * NANO >= start {
                before = Some(oracle.served_by(start));
            }
            oracle.ask(next);
            if next.at as f64 * NANO >= start {
                window.offered += next.work;
            }
        }
        let from = before.unwrap_or_else(|| oracle.served_by(start));
        let served = oracle.served_by(end);
        window.ceiling = served - from;
        before = Some(served);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_short_window_is_chance_and_three_in_a_row_are_not() {
        let marks = |text: &str| text.chars().map(|mark| mark == 'x').collect::<Vec<bool>>();
        assert_eq!(settled(&marks("..........")), 0);
        assert_eq!(settled(&marks("xx........")), 2);
        assert_eq!(settled(&marks("x...xx.x..")), 1);
        assert_eq!(settled(&marks("x...xxx...")), 7);
        assert_eq!(settled(&marks("......xxxx")), 10);
    }
}
