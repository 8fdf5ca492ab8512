//! The cool-down of an origin: a time in which a client sends it nothing, because it said so.

use std::time::Duration;

use crate::ramp::{Pass, Ramp, next_phase};
use crate::time::Timestamp;

mod ending;
mod evidence;

pub use self::ending::{Ending, Told};
use self::evidence::Evidence;

/// What one caller was told, applied to all callers of an origin.
///
/// ```text
/// Inactive → Quiet      a response says when to come back, and is believed
/// Inactive → Quiet      several attempts in a row meet no server, as while it restarts
/// Quiet    → Inactive   an early attempt was answered: the time does not hold for all of them
/// Quiet    → Probing    the time has passed: one attempt is sent
/// Probing  → Resuming   the attempt was answered, or hangs: two may be in flight, and one more after each response
/// Resuming → Resuming   all attempts in flight hang: twice as many others may be sent as before
/// Resuming → Inactive   no attempt is held any more
/// Probing  → Quiet      the response says again when to come back, or there is still no server
/// Resuming → Quiet      several responses in a row do, or there is still no server
/// ```
///
/// ```
/// use backpressure_core::{Cooldown, CooldownDecision, Ending, Others, Timestamp, Told};
/// use std::time::Duration;
///
/// let mut cooldown = Cooldown::new();
/// let mut now = Timestamp::ZERO;
/// let CooldownDecision::Send(pass) = cooldown.decide(now) else { panic!("no cool-down yet") };
/// let wait = Duration::from_secs(2);
/// cooldown.ended(pass, Ending::Told(Told::Quota(wait)), Others::default(), now);
/// let left = CooldownDecision::Wait { until: now + wait, ask_at: now + wait };
/// assert_eq!(cooldown.decide(now), left);
/// now = now + wait;
/// assert!(matches!(cooldown.decide(now), CooldownDecision::Send(_)), "one probe");
/// assert!(matches!(cooldown.decide(now), CooldownDecision::Wait { .. }));
/// ```
#[derive(Debug)]
pub struct Cooldown {
    phase: Phase,
    /// Number of the phase, which passes carry.
    number: u32,
    evidence: Evidence,
    /// Pauses without an early attempt: how many there are still to be, and how many after the next early
    /// attempt that is told to come back.
    skipped: (u32, u32),
}

#[derive(Debug)]
enum Phase {
    Inactive,
    Quiet { until: Timestamp, early: Early },
    Probing { since: Timestamp },
    Resuming { ramp: Ramp },
}

/// The attempt that is sent during a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    /// There is none, or it has ended.
    None,
    /// It is sent at this moment or later, after this number of others in this pause.
    At(Timestamp, u32),
    InFlight(u32),
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CooldownDecision {
    /// It is sent now.
    Send(Pass),
    /// It is not sent now.
    Wait {
        /// The end of the pause.
        until: Timestamp,
        /// When it may be asked again, unless another attempt ends before.
        ask_at: Timestamp,
    },
}

/// The other attempts when one ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// How many wait to be sent.
    pub held: usize,
    /// How many are in flight that were sent before it.
    pub older: usize,
}

/// The state of a [`Cooldown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CooldownState {
    /// There is no cool-down: attempts are sent.
    Inactive,
    /// No attempt is sent before this moment.
    Quiet(Timestamp),
    /// One attempt is in flight, and the others wait for its response.
    Probing,
    /// A few attempts are in flight, more after each response.
    Resuming,
}

/// How long all attempts in flight may be without a response before the others stop waiting for it. An origin that still
/// rejects does so within a round trip, and the response may be that of a long poll: with a second here, a client of which
/// nine of ten calls are long polls serves fewer of the others than without a pause.
const PATIENCE: Duration = Duration::from_millis(250);
/// When an attempt finds out whether the pause holds for all attempts: after an eighth of it, and after a
/// quarter of a second at most; and once more after four times as long. Otherwise a server that counts by
/// rate, and rounds the time up to a second, would be used for a tenth of what it allows and less. More such
/// attempts would be no pause. An origin that has answered nothing yet gets none in a short pause.
const EARLY_SHARE: u32 = 8;
const MAX_EARLY_WAIT: Duration = Duration::from_millis(250);
const EARLY_SPACING: u32 = 4;
const MAX_EARLY: u32 = 2;
/// From this length on an origin that has answered nothing yet gets them too: its word may be about one route.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// Pauses without an early attempt after many that were told to come back.
const MAX_SKIPPED: u32 = 64;
/// Attempts in flight after the answer to the probe.
const FIRST_RESUMED: u32 = 2;

impl Cooldown {
    /// An origin that has said nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { phase: Phase::Inactive, number: 0, evidence: Evidence::NONE, skipped: (0, 1) }
    }

    /// Decides on an attempt.
    pub fn decide(&mut self, now: Timestamp) -> CooldownDecision {
        match &mut self.phase {
            Phase::Inactive => CooldownDecision::Send(Pass(self.number)),
            Phase::Quiet { until, early } if now < *until => match *early {
                Early::At(at, before) if now >= at => {
                    *early = Early::InFlight(before);
                    CooldownDecision::Send(Pass(self.number))
                }
                Early::At(ask_at, _) => {
                    CooldownDecision::Wait { until: *until, ask_at: ask_at.min(*until) }
                }
                Early::None | Early::InFlight(_) => wait_until(*until),
            },
            Phase::Quiet { .. } => {
                self.enter(Phase::Probing { since: now });
                CooldownDecision::Send(Pass(self.number))
            }
            Phase::Probing { since } if now < *since + PATIENCE => wait_until(*since + PATIENCE),
            Phase::Probing { .. } => {
                self.enter(Phase::Resuming { ramp: Ramp::starting_at(FIRST_RESUMED, now) });
                self.decide(now)
            }
            Phase::Resuming { ramp } => {
                match ramp.full_since() {
                    Some(since) if now < since + PATIENCE => return wait_until(since + PATIENCE),
                    Some(_) => ramp.pass_by(),
                    None => {}
                }
                ramp.sent(now);
                CooldownDecision::Send(Pass(self.number))
            }
        }
    }

    /// What is left of the pause, where an attempt that came now would be held for it; changes nothing.
    ///
    /// ```
    /// use backpressure_core::{Cooldown, CooldownDecision, Ending, Others, Timestamp, Told};
    /// use std::time::Duration;
    ///
    /// let (mut cooldown, now) = (Cooldown::new(), Timestamp::ZERO);
    /// assert_eq!(cooldown.pause(now), None);
    /// let CooldownDecision::Send(pass) = cooldown.decide(now) else { panic!("no cool-down yet") };
    /// let wait = Duration::from_secs(2);
    /// cooldown.ended(pass, Ending::Told(Told::Quota(wait)), Others::default(), now);
    /// assert_eq!(cooldown.pause(now), Some(wait));
    /// assert_eq!(cooldown.pause(now + wait), None, "it would be the probe");
    /// ```
    #[must_use]
    pub fn pause(&self, now: Timestamp) -> Option<Duration> {
        let Phase::Quiet { until, early } = self.phase else { return None };
        let is_early_due = matches!(early, Early::At(at, _) if now >= at);
        (now < until && !is_early_due).then(|| until.since(now))
    }

    /// An attempt has ended, while there are these others.
    pub fn ended(&mut self, pass: Pass, ending: Ending, others: Others, now: Timestamp) {
        let is_current = pass == Pass(self.number);
        self.evidence.add(ending, others.older, now);
        match ending {
            Ending::Told(told) if self.believes(told, now) => {
                let (Told::Quota(wait) | Told::Load(wait)) = told;
                return self.keep_quiet(wait, is_current, now);
            }
            Ending::Unanswered(pause) if self.is_away(is_current, now) => {
                return self.enter(Phase::Quiet { until: now + pause, early: Early::None });
            }
            _ => {}
        }
        if is_current {
            self.end_in_phase(ending, others.held, now);
        }
    }

    /// Whether the origin did not keep its word: after the time that it had named, it named another one, and has answered
    /// nothing in between or since. It is rather down than busy for a moment.
    ///
    /// ```
    /// use backpressure_core::{Cooldown, CooldownDecision, Ending, Others, Timestamp, Told};
    /// use std::time::Duration;
    ///
    /// let (mut cooldown, mut now) = (Cooldown::new(), Timestamp::ZERO);
    /// let wait = Duration::from_secs(2);
    /// for has_told_again in [false, true] {
    ///     let CooldownDecision::Send(pass) = cooldown.decide(now) else { panic!("it may be asked") };
    ///     cooldown.ended(pass, Ending::Told(Told::Quota(wait)), Others::default(), now);
    ///     assert_eq!(cooldown.has_told_again(), has_told_again);
    ///     now = now + wait;
    /// }
    /// ```
    #[must_use]
    pub const fn has_told_again(&self) -> bool {
        self.evidence.pauses > 1
    }

    /// The state now.
    #[must_use]
    pub const fn state(&self) -> CooldownState {
        match self.phase {
            Phase::Inactive => CooldownState::Inactive,
            Phase::Quiet { until, .. } => CooldownState::Quiet(until),
            Phase::Probing { .. } => CooldownState::Probing,
            Phase::Resuming { .. } => CooldownState::Resuming,
        }
    }

    /// Whether it holds for all attempts. A probe that is rejected continues the pause; before a pause, and once
    /// attempts are answered again, others have to agree.
    fn believes(&self, told: Told, now: Timestamp) -> bool {
        match self.phase {
            Phase::Inactive => self.evidence.begins(told, now),
            Phase::Resuming { ramp } => self.evidence.ends_resumption(ramp.in_flight()),
            Phase::Quiet { .. } | Phase::Probing { .. } => true,
        }
    }

    /// Whether the origin restarts, so that an attempt that was not answered begins a pause, or another one.
    fn is_away(&self, is_current: bool, now: Timestamp) -> bool {
        match self.phase {
            Phase::Inactive | Phase::Resuming { .. } => self.evidence.begins_outage(now),
            Phase::Probing { .. } => is_current && self.evidence.may_restart(now),
            Phase::Quiet { .. } => false,
        }
    }

    /// `is_current`: the attempt was sent in the present phase.
    fn keep_quiet(&mut self, wait: Duration, is_current: bool, now: Timestamp) {
        let until = now + wait;
        match &mut self.phase {
            Phase::Quiet { until: before, early } => {
                *before = until.max(*before);
                if let (true, Early::InFlight(before)) = (is_current, *early) {
                    let others = before + 1;
                    *early = match others < MAX_EARLY {
                        true => Early::At(now + EARLY_SPACING * early_wait(wait), others),
                        false => Early::None,
                    };
                    if others == MAX_EARLY {
                        self.evidence.is_selective = false;
                        self.skipped = (self.skipped.1, (2 * self.skipped.1).min(MAX_SKIPPED));
                    }
                }
            }
            phase => {
                self.evidence.pauses = self.evidence.pauses.saturating_add(1);
                let is_new = matches!(phase, Phase::Inactive) || self.evidence.is_selective;
                let is_worth_it = self.evidence.has_answered || wait >= LONG_PAUSE;
                let is_due = is_new && is_worth_it && self.skipped.0 == 0;
                self.skipped.0 = self.skipped.0.saturating_sub(1);
                let first = Early::At(now + early_wait(wait), 0);
                let early = if is_due { first } else { Early::None };
                self.enter(Phase::Quiet { until, early });
            }
        }
    }

    fn resume(&mut self, held: usize, now: Timestamp) {
        match held {
            0 => self.enter(Phase::Inactive),
            _ => self.enter(Phase::Resuming { ramp: Ramp::starting_at(FIRST_RESUMED, now) }),
        }
    }

    /// An attempt of this phase has ended without a word on when to come back.
    fn end_in_phase(&mut self, ending: Ending, held: usize, now: Timestamp) {
        match (&mut self.phase, ending) {
            (Phase::Inactive, _) => {}
            (Phase::Quiet { early, .. }, Ending::Cancelled) => {
                if let Early::InFlight(before) = *early {
                    *early = Early::At(now, before);
                }
            }
            (Phase::Quiet { .. }, Ending::Answered) => {
                self.evidence.released_as_selective(held);
                self.skipped = (0, 1);
                self.enter(Phase::Inactive);
            }
            (Phase::Quiet { early, .. }, _) => *early = Early::None,
            // The next attempt is the probe.
            (Phase::Probing { .. }, Ending::Cancelled) => {
                self.enter(Phase::Quiet { until: now, early: Early::None });
            }
            (Phase::Probing { .. }, _) => self.resume(held, now),
            (Phase::Resuming { ramp }, Ending::Cancelled) => ramp.ended(now),
            (Phase::Resuming { ramp }, Ending::Told(_)) => ramp.ended(now),
            (Phase::Resuming { .. }, _) if held == 0 => self.enter(Phase::Inactive),
            (Phase::Resuming { ramp }, _) => {
                ramp.ended(now);
                ramp.grow();
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        (self.phase, self.number) = (phase, next_phase(self.number));
    }
}

fn early_wait(wait: Duration) -> Duration {
    (wait / EARLY_SHARE).min(MAX_EARLY_WAIT)
}

const fn wait_until(until: Timestamp) -> CooldownDecision {
    CooldownDecision::Wait { until, ask_at: until }
}

impl Default for Cooldown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::evidence::{BELIEVED_LOAD, BELIEVED_LOAD_AT_START, MIN_REJECTED};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const START: Timestamp = Timestamp::ZERO;

    const fn held(held: usize) -> Others {
        Others { held, older: 0 }
    }

    fn send(cooldown: &mut Cooldown, now: Timestamp) -> Option<Pass> {
        match cooldown.decide(now) {
            CooldownDecision::Send(pass) => Some(pass),
            CooldownDecision::Wait { .. } => None,
        }
    }

    fn end(cooldown: &mut Cooldown, ending: Ending, held: usize, now: Timestamp) {
        let pass = send(cooldown, now).expect("it is sent");
        cooldown.ended(pass, ending, Others { held, older: 0 }, now);
    }

    /// Rejects attempts, one each hundred milliseconds, until there is a pause; how many, and the time then.
    fn reject(cooldown: &mut Cooldown, told: Told, mut now: Timestamp) -> (u32, Timestamp) {
        for count in 1.. {
            end(cooldown, Ending::Told(told), 0, now);
            if cooldown.state() != CooldownState::Inactive {
                return (count, now);
            }
            now = now + MIN_REJECTED;
        }
        unreachable!("rejections are believed some time")
    }

    fn quiet(wait: Duration) -> Cooldown {
        let mut cooldown = Cooldown::new();
        end(&mut cooldown, Ending::Told(Told::Quota(wait)), 0, START);
        cooldown
    }

    #[test]
    fn after_the_time_that_was_told_one_attempt_is_sent_and_then_twice_as_many_each_round() {
        let mut cooldown = quiet(2 * SECOND);
        assert_eq!(send(&mut cooldown, START + 2 * SECOND - SECOND / 1_000), None);
        let now = START + 2 * SECOND;
        let mut rounds = Vec::new();
        for _ in 0..4 {
            let sent: Vec<Pass> = std::iter::from_fn(|| send(&mut cooldown, now)).collect();
            rounds.push(sent.len());
            for pass in sent {
                cooldown.ended(pass, Ending::Answered, held(100), now);
            }
        }
        assert_eq!(rounds, [1, 2, 4, 8]);
        end(&mut cooldown, Ending::Answered, 0, now);
        assert_eq!(cooldown.state(), CooldownState::Inactive);
    }

    #[test]
    fn a_probe_that_is_told_again_extends_the_pause_and_one_that_is_cancelled_leaves_it_to_the_next()
     {
        let mut cooldown = quiet(SECOND);
        end(&mut cooldown, Ending::Cancelled, 3, START + SECOND);
        end(&mut cooldown, Ending::Told(Told::Load(SECOND)), 3, START + SECOND);
        assert_eq!(cooldown.state(), CooldownState::Quiet(START + 2 * SECOND));
        assert_eq!(send(&mut cooldown, START + SECOND), None);
    }

    /// From now on, how many of a crowd are sent in each quarter of a second, if none is answered.
    fn sent_while_all_hang(cooldown: &mut Cooldown, now: Timestamp) -> [usize; 5] {
        [0, 1, 2, 3, 4]
            .map(|n| (0..100).take_while(|_| send(cooldown, now + n * PATIENCE).is_some()).count())
    }

    #[test]
    fn a_probe_that_hangs_and_others_that_do_are_passed_by_by_twice_as_many() {
        let sent = sent_while_all_hang(&mut quiet(SECOND), START + SECOND);
        assert_eq!(sent, [1, 2, 4, 8, 16]);
        let mut restarting = Cooldown::new();
        end(&mut restarting, Ending::Answered, 0, START);
        unanswered(&mut restarting, START, SECOND / 4);
        assert_eq!(sent_while_all_hang(&mut restarting, START + SECOND), sent);
    }

    #[test]
    fn an_attempt_that_was_passed_by_and_meets_no_server_after_all_begins_another_pause() {
        let mut cooldown = Cooldown::new();
        end(&mut cooldown, Ending::Answered, 0, START);
        unanswered(&mut cooldown, START, SECOND / 4);
        let probe = send(&mut cooldown, START + SECOND).expect("a probe");
        let now = START + SECOND + PATIENCE;
        assert!(send(&mut cooldown, now).is_some());
        cooldown.ended(probe, Ending::Unanswered(SECOND / 4), held(3), now);
        assert_eq!(cooldown.state(), CooldownState::Quiet(now + SECOND / 4));
    }

    #[test]
    fn a_share_of_rejections_for_load_is_not_believed_and_all_of_them_are() {
        let mut cooldown = Cooldown::new();
        for n in 0..10_000 {
            let is_dead = n % 4 != 0;
            let told = Ending::Told(Told::Load(30 * SECOND));
            end(&mut cooldown, if is_dead { told } else { Ending::Answered }, 0, START);
        }
        assert_eq!(reject(&mut cooldown, Told::Load(SECOND), START).0, 13, "three had come before");
    }

    #[test]
    fn a_quota_of_one_route_stops_no_other_and_that_of_all_does() {
        let mut cooldown = Cooldown::new();
        for n in 0..1_000 {
            let told = Ending::Told(Told::Quota(30 * SECOND));
            end(&mut cooldown, if n % 3 != 0 { told } else { Ending::Answered }, 0, START);
        }
        assert_eq!(cooldown.state(), CooldownState::Inactive);
        end(&mut cooldown, Ending::Answered, 0, START);
        (0..100).for_each(|_| end(&mut cooldown, Ending::Told(Told::Quota(SECOND)), 0, START));
        assert_eq!(cooldown.state(), CooldownState::Inactive, "those in flight together");
        end(&mut cooldown, Ending::Answered, 0, START);
        let (count, now) = reject(&mut cooldown, Told::Quota(SECOND), START);
        assert_eq!((count, cooldown.state()), (3, CooldownState::Quiet(now + SECOND)));
    }

    #[test]
    fn an_origin_that_never_answered_is_believed_sooner() {
        let mut cooldown = Cooldown::new();
        for _ in 0..BELIEVED_LOAD_AT_START {
            end(&mut cooldown, Ending::Told(Told::Load(SECOND)), 0, START);
        }
        assert_eq!(cooldown.state(), CooldownState::Quiet(START + SECOND));
    }

    #[test]
    fn an_early_attempt_that_is_answered_ends_the_pause_and_many_rejections_are_needed_then() {
        let mut cooldown = Cooldown::new();
        end(&mut cooldown, Ending::Answered, 0, START);
        let (_, now) = reject(&mut cooldown, Told::Quota(8 * SECOND), START);
        assert_eq!(send(&mut cooldown, now + MAX_EARLY_WAIT - SECOND / 100), None);
        end(&mut cooldown, Ending::Answered, 0, now + MAX_EARLY_WAIT);
        assert_eq!(cooldown.state(), CooldownState::Inactive);
        let (count, _) = reject(&mut cooldown, Told::Quota(SECOND), now + SECOND);
        assert_eq!(count, BELIEVED_LOAD);
    }

    #[test]
    fn early_attempts_that_are_told_to_come_back_get_rare() {
        let mut cooldown = Cooldown::new();
        let (mut now, mut early) = (START, Vec::new());
        for pause in 0..20 {
            end(&mut cooldown, Ending::Answered, 0, now);
            let told = Ending::Told(Told::Quota(8 * SECOND));
            now = reject(&mut cooldown, Told::Quota(8 * SECOND), now).1;
            for wait in [MAX_EARLY_WAIT, 6 * MAX_EARLY_WAIT, 7 * SECOND] {
                if let Some(pass) = send(&mut cooldown, now + wait) {
                    early.push(pause);
                    cooldown.ended(pass, told, held(0), now + wait);
                }
            }
            // The early attempts have moved the end of the pause.
            now = now + 2 * SECOND;
            now = now + 10 * SECOND;
            end(&mut cooldown, Ending::Answered, 0, now);
        }
        assert_eq!(early, [0, 0, 2, 2, 5, 5, 10, 10, 19, 19]);
    }

    #[test]
    fn attempts_sent_before_a_pause_do_not_end_it() {
        let mut cooldown = Cooldown::new();
        let early: Vec<Pass> = (0..3).map(|_| send(&mut cooldown, START).unwrap()).collect();
        end(&mut cooldown, Ending::Told(Told::Quota(SECOND)), 0, START);
        cooldown.ended(early[0], Ending::Answered, held(0), START);
        assert_eq!(send(&mut cooldown, START), None);
        let probe = send(&mut cooldown, START + SECOND).expect("a probe");
        cooldown.ended(early[1], Ending::Answered, held(5), START + SECOND);
        cooldown.ended(Pass::UNTRACKED, Ending::Answered, held(5), START + SECOND);
        assert_eq!(send(&mut cooldown, START + SECOND), None, "the probe is not answered yet");
        cooldown.ended(probe, Ending::Answered, held(5), START + SECOND);
        assert!(send(&mut cooldown, START + SECOND).is_some());
        let told = Ending::Told(Told::Quota(SECOND));
        for state in [CooldownState::Resuming, CooldownState::Resuming] {
            cooldown.ended(early[2], told, held(5), START + SECOND);
            assert_eq!(cooldown.state(), state, "one of several may be about one route");
        }
        cooldown.ended(early[2], told, held(5), START + SECOND);
        assert_eq!(cooldown.state(), CooldownState::Quiet(START + 2 * SECOND));
    }

    /// Attempts that meet no server, one each twenty milliseconds from then to then; those that were sent.
    fn unanswered(cooldown: &mut Cooldown, from: Timestamp, length: Duration) -> Vec<Timestamp> {
        let mut sent = Vec::new();
        for now in (0..length.as_millis() as u32 / 20).map(|n| from + n * SECOND / 50) {
            if let Some(pass) = send(cooldown, now) {
                cooldown.ended(pass, Ending::Unanswered(SECOND / 4), held(3), now);
                sent.push(now);
            }
        }
        sent
    }

    #[test]
    fn an_origin_that_restarts_is_asked_by_eight_attempts_and_then_by_probes_until_it_is_back() {
        let mut cooldown = Cooldown::new();
        end(&mut cooldown, Ending::Answered, 0, START);
        let sent = unanswered(&mut cooldown, START, SECOND);
        assert_eq!(sent.len(), 8 + 3);
        assert!(!cooldown.has_told_again());
        end(&mut cooldown, Ending::Answered, 3, START + SECOND + SECOND / 4);
        assert_eq!(cooldown.state(), CooldownState::Resuming);
        end(&mut cooldown, Ending::Answered, 0, START + 2 * SECOND);
        let soon_again = unanswered(&mut cooldown, START + 5 * SECOND, 5 * SECOND);
        assert_eq!(soon_again.len(), 250, "its trouble did not end");
        end(&mut cooldown, Ending::Answered, 0, START + 20 * SECOND);
        let later = unanswered(&mut cooldown, START + 30 * SECOND, SECOND);
        assert_eq!(later.len(), 8 + 3);
    }

    #[test]
    fn an_origin_that_is_down_for_long_or_never_answered_is_asked_as_often_as_without_a_cooldown() {
        let mut cooldown = Cooldown::new();
        assert_eq!(unanswered(&mut cooldown, START, SECOND).len(), 50);
        let later = START + 20 * SECOND;
        end(&mut cooldown, Ending::Answered, 0, later);
        let sent = unanswered(&mut cooldown, later, 10 * SECOND);
        let pauses = sent.windows(2).filter(|pair| pair[1].since(pair[0]) > SECOND / 10).count();
        assert!((11..=13).contains(&pauses), "for three seconds: {pauses}");
        assert!(sent.len() > 340, "{}", sent.len());
    }

    #[test]
    fn attempts_of_which_a_share_is_answered_begin_no_pause() {
        for (answered, rate) in [(8, 50), (64, 1_000)] {
            let mut cooldown = Cooldown::new();
            for n in 0..10 * rate {
                let is_answered = n % answered == 0;
                let ending =
                    if is_answered { Ending::Answered } else { Ending::Unanswered(SECOND / 4) };
                end(&mut cooldown, ending, 0, START + n * SECOND / rate);
            }
            assert_eq!(cooldown.state(), CooldownState::Inactive, "one in {answered}");
        }
    }

    #[test]
    fn a_failure_without_a_word_on_when_to_come_back_ends_the_pause() {
        let mut cooldown = quiet(SECOND);
        end(&mut cooldown, Ending::Failed, 0, START + SECOND);
        assert_eq!(cooldown.state(), CooldownState::Inactive);
    }
}
