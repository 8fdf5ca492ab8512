//! What the responses of an origin are evidence of.

use std::time::Duration;

use super::{Ending, Told};
use crate::time::Timestamp;

/// What an origin has answered, and whether its word on when to come back is believed to hold for all attempts.
#[derive(Debug)]
pub(super) struct Evidence {
    /// Rejections that named a time since the last answer, and the moment of the first of them.
    rejections: u32,
    rejected_since: Timestamp,
    /// Attempts in flight that were sent before the first of them was. None of them was answered since.
    older: usize,
    /// Whether any attempt was ever answered.
    pub(super) has_answered: bool,
    /// Pauses that have begun since the last answer.
    pub(super) pauses: u32,
    /// Whether the origin was found to answer attempts while it tells others to come back.
    pub(super) is_selective: bool,
    /// Attempts that were released together when that was found. That many of them are rejected together is
    /// no sign of anything.
    released: usize,
    outage: Outage,
}

/// Attempts without a server to answer them.
#[derive(Debug)]
struct Outage {
    /// How many there were since the last answer, and the moment of the first of them.
    unanswered: u32,
    unanswered_since: Timestamp,
    /// The first one before which there was none for a while, and the last one.
    began: Timestamp,
    last: Option<Timestamp>,
}

/// Unanswered attempts in a row that begin a pause. Half of the attempts fail so where one of two replicas is down: as many in
/// a row come once in 256 times then. With more, those that the retries of a client can repair would be used up.
const BELIEVED_UNANSWERED: u32 = 8;
/// How long a restart takes at most. An origin that is away for longer is down: its callers are better told so.
const LONGEST_RESTART: Duration = Duration::from_secs(3);
/// An origin of which an attempt was unanswered less than this before does not restart: it is overloaded, or one of its
/// replicas is down.
const MIN_TIME_BETWEEN_RESTARTS: Duration = Duration::from_secs(10);

/// Rejections by quota in a row, without an answer to any other attempt, that are taken to hold for all
/// attempts. After one, a route with a quota of its own would stop all others; with more, an origin that
/// rejects each attempt is asked more often than it takes to find out.
const BELIEVED_QUOTA: u32 = 3;
/// And for how long no answer has come. Many attempts are in flight at once to a busy origin: then three in a
/// row come by chance where it rejects a share of them. About a round trip to a far origin.
pub(super) const MIN_REJECTED: Duration = Duration::from_millis(100);
/// The same number for load. With one dead replica of sixteen as many in a row do
/// not come by chance, and at half of all responses once in 65 536. An origin that is down is asked this
/// often before its clients are quiet.
pub(super) const BELIEVED_LOAD: u32 = 16;
/// The same of an origin that has answered nothing yet: there is no sign that it serves anything.
const BELIEVED_QUOTA_AT_START: u32 = 1;
pub(super) const BELIEVED_LOAD_AT_START: u32 = 4;
/// The same while attempts resume, and two for each attempt in flight. With one, an origin that rejects a share would be
/// sent next to nothing.
const BELIEVED_WHILE_RESUMING: u32 = 3;

/// Rejections for each attempt that was sent earlier and has not ended: a rejection comes at once, and an answer may take
/// long. At 1 an origin that rejects half of the attempts is sent a twentieth; at 2 and 3 more chains stay slow after ten slow
/// seconds, as the limits of clients learn from what is not believed here.
const REJECTIONS_OVER_OLDER: usize = 4;

impl Evidence {
    pub(super) const NONE: Self = Self {
        rejections: 0,
        rejected_since: Timestamp::ZERO,
        older: 0,
        has_answered: false,
        pauses: 0,
        is_selective: false,
        released: 0,
        outage: Outage {
            unanswered: 0,
            unanswered_since: Timestamp::ZERO,
            began: Timestamp::ZERO,
            last: None,
        },
    };

    /// `older`: attempts in flight that were sent before this one.
    pub(super) fn add(&mut self, ending: Ending, older: usize, now: Timestamp) {
        match ending {
            Ending::Answered => {
                (self.rejections, self.has_answered, self.pauses) = (0, true, 0);
                self.outage.unanswered = 0;
            }
            Ending::Told(_) if self.released > 0 => self.released -= 1,
            Ending::Told(_) => {
                if self.rejections == 0 {
                    (self.rejected_since, self.older) = (now, older);
                }
                self.rejections = self.rejections.saturating_add(1);
            }
            Ending::Unanswered(_) => self.outage.unanswered(now),
            Ending::Failed | Ending::Cancelled => {}
        }
    }

    /// An attempt was answered during a pause, which ends with it for this many others.
    pub(super) const fn released_as_selective(&mut self, held: usize) {
        (self.is_selective, self.released) = (true, held);
    }

    /// Whether it is enough to begin a pause.
    pub(super) fn begins(&self, told: Told, now: Timestamp) -> bool {
        let needed = match (told, self.has_answered) {
            (Told::Quota(_), true) if !self.is_selective => BELIEVED_QUOTA,
            (Told::Quota(_), true) => BELIEVED_LOAD,
            (Told::Quota(_), false) => BELIEVED_QUOTA_AT_START,
            (Told::Load(_), true) => BELIEVED_LOAD,
            (Told::Load(_), false) => BELIEVED_LOAD_AT_START,
        };
        let lasts = !self.has_answered || now.since(self.rejected_since) >= MIN_REJECTED;
        let outnumber = self.rejections as usize / REJECTIONS_OVER_OLDER >= self.older;
        lasts && self.rejections >= needed && outnumber
    }

    /// Whether an origin that has answered before may be restarting.
    pub(super) fn begins_outage(&self, now: Timestamp) -> bool {
        let lasts = now.since(self.outage.unanswered_since) >= MIN_REJECTED;
        let is_enough = self.has_answered && self.outage.unanswered >= BELIEVED_UNANSWERED;
        lasts && is_enough && self.may_restart(now)
    }

    /// Whether it has been away for no longer than a restart takes.
    pub(super) fn may_restart(&self, now: Timestamp) -> bool {
        now.since(self.outage.began) <= LONGEST_RESTART
    }

    /// Whether it is enough for another pause while attempts resume after one, of which this many were neither
    /// rejected nor answered yet.
    pub(super) const fn ends_resumption(&self, in_flight: u32) -> bool {
        self.rejections >= BELIEVED_WHILE_RESUMING && self.rejections / 2 >= in_flight
    }
}

impl Outage {
    fn unanswered(&mut self, now: Timestamp) {
        if self.unanswered == 0 {
            self.unanswered_since = now;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        if self.last.is_none_or(|last| now.since(last) >= MIN_TIME_BETWEEN_RESTARTS) {
            self.began = now;
        }
        self.last = Some(now);
    }
}
