//! Signs of work: a permit stands for work, and counts apart while there is none.

use std::time::Duration;

use backpressure_core::{Metering, Outcome, Sample, Timestamp};

use super::Permit;
use super::start::Stage;

/// A poll this long is a sign of work. Shorter ones read a piece of a body and wait for the next.
const MIN_WORK: Duration = Duration::from_millis(1);

impl Permit {
    /// Its work has just kept a worker busy for this long, and stands for the work of `weight` requests.
    pub(super) fn worked(&mut self, busy: Duration, weight: u32) {
        self.shared.add_busy(busy.saturating_mul(weight));
        if busy >= MIN_WORK {
            self.renew_stamp();
        }
    }

    /// It counts until it is released, whether or not it shows signs of work.
    pub(crate) fn counts_until_released(&mut self) {
        self.remove_stamp();
    }

    fn renew_stamp(&mut self) {
        if let Some(stamp) = &mut self.stamp {
            *stamp = self.shared.renew_stamp(*stamp, || self.shared.now());
        }
    }

    pub(super) fn remove_stamp(&mut self) {
        if let Some(stamp) = self.stamp.take() {
            self.shared.remove_stamp(stamp, || self.shared.now());
        }
    }
}

/// A response body, which the permit follows to its end.
impl Permit {
    /// The response begins, and reading its body may take long, which is no work. Where waiting does
    /// not count, the permit counts apart until its next sign of work.
    pub(crate) fn starts_long_body(&mut self) {
        match &mut self.stamp {
            Some(stamp) => *stamp = self.shared.set_apart(*stamp, self.shared.now()),
            None => self.waits_for_reader(Duration::ZERO),
        }
    }

    /// A short response has arrived at a client, whose caller has not read it yet. The server has handed it
    /// over whole: where other requests wait for a permit, this one counts apart, so that a caller that
    /// reads no body before it has all heads does not wait for itself.
    pub(crate) fn waits_for_caller(&mut self) {
        match self.shared.counter.needs_decision() {
            true => self.starts_long_body(),
            false => self.waits_for_reader(Duration::ZERO),
        }
    }

    /// Whether the time that a part of the body keeps a worker busy may be a sign of work.
    pub(crate) fn is_watched(&self) -> bool {
        self.stamp.is_some() && !self.shared.counts_waiting()
    }

    /// A poll of the body kept a worker busy for this long, which is charged to a response that is measured.
    pub(crate) fn worked_on_body(&self, busy: Duration) {
        if self.shared.metering() == Metering::RunQueue {
            self.shared.add_busy(busy);
            self.shared.add_body_time(busy);
        }
    }

    /// A part of the body is handed over, which kept a worker busy for this long. If the reader does
    /// not ask for more for a while, the permit counts apart until it does.
    pub(crate) fn waits_for_reader(&mut self, busy: Duration) {
        if let Stage::Producing { since } = self.stage {
            self.stage = Stage::Ended;
            self.teach_part(since, busy);
        }
        match self.stamp {
            None => self.stamp = Some(self.shared.stamp()),
            Some(_) if busy >= MIN_WORK || self.shared.counts_waiting() => self.renew_stamp(),
            Some(_) => {}
        }
    }

    /// The reader has asked for more, and the service has none yet. Under a limit that counts waiting,
    /// the permit counts for as long as that takes.
    pub(crate) fn waits_for_service(&mut self) {
        if self.shared.counts_waiting() {
            return self.remove_stamp();
        }
        if !matches!(self.stage, Stage::Producing { .. }) {
            self.stage = Stage::Producing { since: self.shared.now() };
        }
        self.renew_stamp();
    }

    /// A part of a body that the reader waited for is an attempt like any other: a limit that saw
    /// heads alone would admit any number of streams. Its time on a worker is charged elsewhere.
    fn teach_part(&self, since: Timestamp, busy: Duration) {
        let shared = &*self.shared;
        let is_silent = self.stamp.is_some_and(|stamp| shared.is_silent(stamp));
        if is_silent || shared.counts_waiting() {
            return;
        }
        let now = shared.now();
        let in_flight = shared.counted(shared.in_flight());
        let sample = Sample::new(now.since(since).saturating_sub(busy), Outcome::Success)
            .in_flight(in_flight);
        shared.learn(&sample, self.stamp, self.hold, now);
    }
}
