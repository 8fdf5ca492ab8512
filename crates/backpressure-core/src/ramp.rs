//! Lets requests through again after a pause: a few at first, and more with each response.

use std::time::Duration;

use crate::time::Timestamp;

/// Permission for one attempt, returned when the attempt has ended.
///
/// It belongs to the phase in which it was given: the end of an attempt that was sent in an earlier phase
/// frees no place in a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an attempt that ends without returning its pass keeps its place"]
pub struct Pass(pub(crate) u32);

impl Pass {
    /// The pass of an attempt that was sent without a decision, while nothing holds attempts back.
    pub const UNTRACKED: Self = Self(u32::MAX);
}

/// The next phase after this one. It is never that of [`Pass::UNTRACKED`].
pub(crate) const fn next_phase(phase: u32) -> u32 {
    (phase + 1) % u32::MAX
}

/// Attempts in flight, and how many there may be.
///
/// Each response makes room for one more, so that the number doubles with each round of responses, however
/// long a round takes. An origin that fails again is then hit by at most twice what it has just served. Attempts
/// that hang make room for one more each second: a few of them would keep all others from an origin that is back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    in_flight: u32,
    allowed: u32,
    /// Those in flight that hung when others passed them by.
    passed: u32,
    /// When an attempt was last sent or ended.
    moved: Timestamp,
}

/// How long all attempts may hang before one more is sent. A slow origin answers within this time, and more than one
/// attempt a second to one that hangs would be no pause.
const PATIENCE: Duration = Duration::from_secs(1);

impl Ramp {
    pub(crate) const fn starting_at(allowed: u32, now: Timestamp) -> Self {
        Self { in_flight: 0, allowed, passed: 0, moved: now }
    }

    /// Whether one more attempt may be sent now.
    pub(crate) fn has_room(&self, now: Timestamp) -> bool {
        self.in_flight < self.allowed || now.since(self.moved) >= PATIENCE
    }

    /// The same; it is in flight then.
    pub(crate) fn admits(&mut self, now: Timestamp) -> bool {
        let admits = self.has_room(now);
        if admits {
            self.sent(now);
        }
        admits
    }

    /// One more is in flight.
    pub(crate) const fn sent(&mut self, now: Timestamp) {
        (self.in_flight, self.moved) = (self.in_flight.saturating_add(1), now);
    }

    /// Since when there is no room, if so.
    pub(crate) fn full_since(&self) -> Option<Timestamp> {
        (self.in_flight >= self.allowed).then_some(self.moved)
    }

    /// Makes room for twice as many as before, beside those in flight.
    pub(crate) const fn pass_by(&mut self) {
        let room = self.allowed.saturating_sub(self.passed).saturating_mul(2);
        (self.passed, self.allowed) = (self.in_flight, self.in_flight.saturating_add(room));
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// An attempt has ended.
    pub(crate) const fn ended(&mut self, now: Timestamp) {
        (self.in_flight, self.moved) = (self.in_flight.saturating_sub(1), now);
    }

    /// An attempt was answered as it should be.
    pub(crate) const fn grow(&mut self) {
        self.allowed = self.allowed.saturating_add(1);
    }

    /// An attempt failed.
    pub(crate) fn shrink(&mut self) {
        self.allowed = (self.allowed / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_flight_doubles_with_each_round_of_responses() {
        let now = Timestamp::ZERO;
        let mut ramp = Ramp::starting_at(1, now);
        let mut rounds = Vec::new();
        for _ in 0..5 {
            let sent = (0..1_000).take_while(|_| ramp.admits(now)).count();
            rounds.push(sent);
            for _ in 0..sent {
                ramp.ended(now);
                ramp.grow();
            }
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn attempts_that_hang_make_room_for_one_more_each_second() {
        let mut ramp = Ramp::starting_at(2, Timestamp::ZERO);
        let sent = (0..10_000)
            .filter(|&tenth| ramp.admits(Timestamp::ZERO + Duration::from_millis(100 * tenth)));
        assert_eq!(sent.count(), 2 + 999);
    }

    #[test]
    fn no_phase_is_that_of_untracked_attempts() {
        assert_eq!(next_phase(u32::MAX - 1), 0);
        assert_ne!(Pass(next_phase(u32::MAX - 2)), Pass::UNTRACKED);
    }
}
