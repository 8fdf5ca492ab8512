//! How far a limit may rise while a resource is short.

use std::time::Duration;

use tokio::time::Instant;

/// Looks at a resource become a ceiling: see [`ResourceWatch`](super::ResourceWatch).
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    state: State,
    /// Looks in a row that found a resource short.
    short: u32,
}

#[derive(Debug, Default)]
enum State {
    /// There is no ceiling.
    #[default]
    Open,
    /// The limit stood at `from` when the resource became short.
    Lowered { ceiling: usize, from: usize, lowest_since: Option<Instant> },
    /// It has not helped; since when the resource has not been short.
    Futile { clear_since: Option<Instant> },
}

/// Looks in a row before a resource is taken to be short: one or two may be a pause of the process, or a burst.
const CONFIRMATIONS: u32 = 3;
/// The share of the limit that the ceiling moves by each time: a quarter is reached in three seconds.
const STEP: usize = 8;
/// The lowest ceiling is this part of the limit: what the resource is short of is rarely used by requests alone.
const LOWEST: usize = 4;
/// How long the lowest ceiling is given to help, and how long a resource must not be short until it is tried again.
const PATIENCE: Duration = Duration::from_secs(60);

impl Ceiling {
    /// Takes a look into account; returns the ceiling, if there is one.
    pub(super) fn looked(&mut self, is_short: bool, limit: usize, now: Instant) -> Option<usize> {
        self.short = if is_short { self.short.saturating_add(1) } else { 0 };
        match &mut self.state {
            State::Open if self.short >= CONFIRMATIONS => {
                let ceiling = down(limit, limit);
                self.state = State::Lowered { ceiling, from: limit, lowest_since: None };
            }
            State::Lowered { ceiling, from, lowest_since } if is_short => {
                *ceiling = down(*ceiling, *from);
                let is_lowest = *ceiling == lowest(*from);
                let since = is_lowest.then(|| *lowest_since.get_or_insert(now));
                if since.is_some_and(|since| now.duration_since(since) >= PATIENCE) {
                    self.state = State::Futile { clear_since: None };
                }
            }
            State::Lowered { ceiling, from, lowest_since } => {
                *lowest_since = None;
                *ceiling += (*ceiling / STEP).max(1);
                if *ceiling > *from {
                    self.state = State::Open;
                }
            }
            State::Futile { clear_since } if is_short => *clear_since = None,
            State::Futile { clear_since } => {
                let since = *clear_since.get_or_insert(now);
                if now.duration_since(since) >= PATIENCE {
                    self.state = State::Open;
                }
            }
            State::Open => {}
        }
        match self.state {
            State::Lowered { ceiling, .. } => Some(ceiling),
            _ => None,
        }
    }
}

fn down(ceiling: usize, from: usize) -> usize {
    (ceiling - ceiling.div_ceil(STEP).min(ceiling)).max(lowest(from))
}

fn lowest(from: usize) -> usize {
    (from / LOWEST).max(1)
}

#[cfg(all(test, not(limiter_loom)))]
mod tests {
    use super::*;

    /// Looks four times a second for so long; returns the last ceiling.
    fn look(
        ceiling: &mut Ceiling,
        now: &mut Instant,
        seconds: u32,
        is_short: bool,
    ) -> Option<usize> {
        let mut last = None;
        for _ in 0..seconds * 4 {
            *now += Duration::from_millis(250);
            last = ceiling.looked(is_short, 100, *now);
        }
        last
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_lowers_the_ceiling_to_a_quarter_and_its_end_raises_it_again() {
        let (mut ceiling, mut now) = (Ceiling::default(), Instant::now());
        assert_eq!(look(&mut ceiling, &mut now, 1, true), Some(76));
        assert_eq!(look(&mut ceiling, &mut now, 5, true), Some(25));
        assert!(look(&mut ceiling, &mut now, 1, false).is_some_and(|it| (38..50).contains(&it)));
        assert_eq!(look(&mut ceiling, &mut now, 5, false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_or_two_samples_are_no_shortage() {
        let (mut ceiling, mut now) = (Ceiling::default(), Instant::now());
        for _ in 0..100 {
            for is_short in [true, true, false] {
                now += Duration::from_millis(250);
                assert_eq!(ceiling.looked(is_short, 100, now), None);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_that_fewer_requests_do_not_end_lowers_nothing_for_good() {
        let (mut ceiling, mut now) = (Ceiling::default(), Instant::now());
        assert_eq!(look(&mut ceiling, &mut now, 30, true), Some(25));
        assert_eq!(look(&mut ceiling, &mut now, 60, true), None);
        assert_eq!(look(&mut ceiling, &mut now, 3_600, true), None);
        assert_eq!(look(&mut ceiling, &mut now, 30, false), None);
        assert_eq!(look(&mut ceiling, &mut now, 30, true), None, "not yet");
        assert_eq!(look(&mut ceiling, &mut now, 61, false), None);
        assert_eq!(look(&mut ceiling, &mut now, 30, true), Some(25), "it may help another time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_one_has_a_ceiling_of_one() {
        let (mut ceiling, now) = (Ceiling::default(), Instant::now());
        for _ in 0..10 {
            assert!(ceiling.looked(true, 1, now).is_none_or(|it| it == 1));
        }
        assert_eq!(ceiling.looked(false, 1, now), None);
    }
}
