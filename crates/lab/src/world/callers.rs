//! Callers: how long they wait, and how they try again.

use std::time::Duration;

use tower_backpressure::client::{RetryBudget, Withdrawal};

use crate::scenario::stream::{Retry, Stream};

use super::World;
use super::agenda::Event;
use super::clock::{fraction, mix, nanos};
use super::journal::{Ended, How};
use super::slab::Id;

/// A request, from the first attempt to the last.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) stream: u32,
    /// Everything that is drawn for it is made of this.
    pub(super) key: u64,
    pub(super) tenant: u32,
    pub(super) user: u32,
    /// After this it is worthless.
    pub(super) ends: u64,
    attempts: u32,
    /// The attempt under way, and when it was sent.
    pub(super) attempt: Id,
    sent: u64,
    /// Pays for the next attempt.
    withdrawal: Option<Withdrawal>,
    /// Whether the next attempt comes when a server said it should.
    pub(super) promised: bool,
}

impl Request {
    pub(super) const fn new(
        number: u32,
        stream: u32,
        key: u64,
        tenant: u32,
        user: u32,
        ends: u64,
    ) -> Self {
        Self {
            number,
            stream,
            key,
            tenant,
            user,
            ends,
            attempts: 0,
            attempt: Id::NONE,
            sent: 0,
            withdrawal: None,
            promised: false,
        }
    }

    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// The retry budgets of a stream's processes, where its callers keep one.
#[derive(Debug)]
pub(super) struct Fleets(Vec<RetryBudget>);

impl Fleets {
    pub(super) fn of(stream: &Stream) -> Self {
        let budget = || match stream.retry {
            Retry::Budget { ratio, .. } => Some(RetryBudget::new(ratio)),
            Retry::Ours { .. } => Some(RetryBudget::default()),
            _ => None,
        };
        Self((0..stream.fleets).filter_map(|_| budget()).collect())
    }

    fn of_user(&self, user: u32) -> Option<&RetryBudget> {
        let fleet = user as usize % self.0.len().max(1);
        self.0.get(fleet)
    }
}

// What the pause before an attempt is drawn with.
const PAUSE: u64 = 1 << 31;
/// The pauses of a caller who was told nothing and has no schedule of its own: up to `first`,
/// doubled each time, at most `most`. The defaults of the client layer that ships.
const FIRST_PAUSE: f64 = 0.05;
const LONGEST_PAUSE: f64 = 5.0;
/// The client layer that ships gives up when it is told to wait longer.
const LONGEST_TOLD: f64 = 60.0;
const SECOND: u64 = 1_000_000_000;

impl World<'_> {
    /// The next attempt of a request.
    pub(super) fn sends(&mut self, id: Id) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let source = &self.sources[request.stream as usize];
        let stream = &self.plan.streams[request.stream as usize].stream;
        match request.withdrawal.take() {
            Some(withdrawal) => withdrawal.spend(),
            None => {
                if let Some(budget) = source.fleets.of_user(request.user) {
                    budget.deposit();
                }
            }
        }
        request.attempts += 1;
        request.sent = self.now;
        let patience = stream.patience.map_or(u64::MAX, |patience| self.now + nanos(patience));
        let until = patience.min(request.ends);
        self.enters(id, until);
    }

    /// An attempt has ended while its caller waited for it.
    pub(super) fn hears(&mut self, id: Id, how: How, told: Option<Duration>) {
        let Some(request) = self.requests.get_mut(id) else { return };
        self.journal.ended.push(Ended {
            at: self.now,
            latency: self.now - request.sent,
            request: request.number,
            how,
        });
        request.attempt = Id::NONE;
        request.promised = false;
        if matches!(how, How::Answered | How::Failed) {
            self.is_over(id);
            return;
        }
        match self.pause(id, told) {
            Some(pause) => self.agenda.push(self.now + pause, Event::Sends(id)),
            None => self.is_over(id),
        }
    }

    fn is_over(&mut self, id: Id) {
        if let Some(request) = self.requests.remove(id) {
            self.thinks(request.stream, request.key);
        }
    }

    /// How long until the next attempt; `None`: there is none.
    fn pause(&mut self, id: Id, told: Option<Duration>) -> Option<u64> {
        let request = self.requests.get_mut(id)?;
        let retry = self.plan.streams[request.stream as usize].stream.retry;
        if request.attempts >= retry.attempts() {
            return None;
        }
        let draw = fraction(mix(request.key, PAUSE + u64::from(request.attempts)));
        let pause = pause(retry, request.attempts, told, draw)?;
        if self.now + pause >= request.ends {
            return None;
        }
        let source = &self.sources[request.stream as usize];
        if let Some(budget) = source.fleets.of_user(request.user) {
            request.withdrawal = Some(budget.withdraw()?);
        }
        request.promised =
            told.is_some() && matches!(retry, Retry::Obedient { .. } | Retry::Ours { .. });
        Some(pause)
    }
}

/// The pause after so many attempts, for a caller who was told this and draws `draw` of 0..1.
fn pause(retry: Retry, attempts: u32, told: Option<Duration>, draw: f64) -> Option<u64> {
    let jittered = |base: f64, cap: f64| {
        let doubled = base * 2.0_f64.powi(attempts.min(60) as i32 - 1);
        nanos(draw * doubled.min(cap))
    };
    let blind = jittered(FIRST_PAUSE, LONGEST_PAUSE);
    Some(match (retry, told) {
        (Retry::None, _) => return None,
        (Retry::Naive { after, .. }, _) => nanos(after),
        (Retry::Jittered { base, cap, .. } | Retry::Budget { base, cap, .. }, _) => {
            jittered(base, cap)
        }
        (Retry::Obedient { .. } | Retry::Ours { .. }, None) => blind,
        (Retry::Obedient { whole_seconds: true, .. }, Some(told)) => whole_seconds(told),
        (Retry::Obedient { .. }, Some(told)) => told.as_nanos() as u64,
        // crates/http/src/client/retry/wait.rs: a floor, and up to a second or a tenth more.
        (Retry::Ours { .. }, Some(told)) => {
            let floor = whole_seconds(told);
            if floor > nanos(LONGEST_TOLD) {
                return None;
            }
            floor + (draw * SECOND.max(floor / 10) as f64) as u64
        }
    })
}

/// As the header says it: rounded up, at least one.
fn whole_seconds(told: Duration) -> u64 {
    (told.as_nanos() as u64).div_ceil(SECOND).max(1) * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: Duration = Duration::from_millis(2_300);

    fn obedient(whole_seconds: bool) -> Retry {
        Retry::Obedient { attempts: 3, whole_seconds }
    }

    #[test]
    fn who_obeys_to_the_letter_waits_exactly_what_it_was_told() {
        assert_eq!(pause(obedient(false), 1, Some(TOLD), 0.9), Some(2_300_000_000));
        assert_eq!(pause(obedient(true), 1, Some(TOLD), 0.9), Some(3 * SECOND));
        let at_once = Some(Duration::from_millis(1));
        assert_eq!(pause(obedient(true), 1, at_once, 0.9), Some(SECOND));
    }

    #[test]
    fn the_layer_that_ships_is_never_early_and_spreads_over_a_second_or_a_tenth() {
        let ours = Retry::Ours { attempts: 3 };
        assert_eq!(pause(ours, 1, Some(TOLD), 0.0), Some(3 * SECOND));
        assert_eq!(pause(ours, 1, Some(TOLD), 0.5), Some(3 * SECOND + SECOND / 2));
        let long = Some(Duration::from_secs(40));
        assert_eq!(pause(ours, 1, long, 0.5), Some(42 * SECOND));
        assert_eq!(pause(ours, 1, Some(Duration::from_secs(61)), 0.5), None);
    }

    #[test]
    fn jitter_fills_a_span_that_doubles_up_to_its_cap() {
        let jittered = Retry::Jittered { attempts: 9, base: 0.1, cap: 0.5 };
        let longest: Vec<_> =
            (1..=4).map(|made| pause(jittered, made, Some(TOLD), 1.0).unwrap()).collect();
        assert_eq!(longest, [100_000_000, 200_000_000, 400_000_000, 500_000_000]);
        assert_eq!(pause(jittered, 1, None, 0.0), Some(0));
    }

    #[test]
    fn who_is_told_nothing_is_not_back_at_once_for_ever() {
        for retry in [obedient(true), Retry::Ours { attempts: 3 }] {
            assert_eq!(pause(retry, 1, None, 1.0), Some(50_000_000));
            assert_eq!(pause(retry, 30, None, 1.0), Some(5 * SECOND));
        }
        assert_eq!(pause(Retry::None, 1, Some(TOLD), 0.5), None);
        assert_eq!(
            pause(Retry::Naive { attempts: 3, after: 0.2 }, 2, None, 0.5),
            Some(200_000_000)
        );
    }
}
