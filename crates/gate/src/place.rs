//! A place in flight, and when it last gave a sign of work.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Outcome, Sample};
use tokio::time::Instant;

use crate::door::Door;

/// A place in flight whose work is measured, or need not be; given back when it is dropped.
///
/// What is left of a [`Permit`](crate::Permit): small enough to be moved along with a response.
#[derive(Debug)]
#[must_use = "a place that is dropped is free at once"]
pub struct Place {
    door: Arc<Door>,
    /// When it last gave a sign of work; `None`: it counts whatever it does.
    stamp: Option<u32>,
    /// Since when the service has owed the next part of the body.
    owing: Option<Instant>,
}

/// Work that shows a request to be more than waiting. Below it are the polls that read a piece of a body
/// and wait for the next.
const SIGN_OF_WORK: Duration = Duration::from_millis(1);

impl Place {
    #[inline]
    pub(crate) fn new(door: Arc<Door>) -> Self {
        let stamp = (!door.hall().counts_waiting()).then(|| door.hall().stamp());
        Self { door, stamp, owing: None }
    }

    pub(crate) const fn door(&self) -> &Arc<Door> {
        &self.door
    }

    pub(crate) const fn stamp(&self) -> Option<u32> {
        self.stamp
    }

    /// Its work has just kept a worker for so long; it stands for so many requests.
    pub(crate) fn worked(&mut self, busy: Duration, weight: u32) {
        self.door.hall().worked(busy.saturating_mul(weight));
        if busy >= SIGN_OF_WORK {
            self.stamp_again();
        }
    }

    /// The answer is there, and its body may take long to be read. That is no work: where waiting does
    /// not count, the place counts apart from now on, until it gives a sign of work.
    pub fn begins_long_body(&mut self) {
        match &mut self.stamp {
            Some(stamp) => *stamp = self.door.hall().rest(*stamp, self.door.now()),
            None => self.reader_owes(Duration::ZERO),
        }
    }

    /// Whether the time that a part of the body keeps a worker may be a sign of work.
    #[must_use]
    pub fn is_watched_for_work(&self) -> bool {
        self.stamp.is_some() && !self.door.hall().counts_waiting()
    }

    /// The reader has got a part of the body, which kept a worker for so long, and owes a read. If it
    /// does not ask for more for long, the place counts apart until it does.
    pub fn reader_owes(&mut self, busy: Duration) {
        if let Some(since) = self.owing.take() {
            self.teach(since);
        }
        match self.stamp {
            None => self.stamp = Some(self.door.hall().stamp()),
            Some(_) if busy >= SIGN_OF_WORK || self.door.hall().counts_waiting() => {
                self.stamp_again();
            }
            Some(_) => {}
        }
    }

    /// The reader has asked for more, and the service owes it. Where a limit means what it says, the
    /// place counts for as long as that takes.
    pub fn service_owes(&mut self) {
        if self.door.hall().counts_waiting() {
            return self.unstamp();
        }
        if self.owing.is_none() {
            self.owing = Some(Instant::now());
        }
        self.stamp_again();
    }

    /// A part of a body that the service had to be waited for is an attempt like any other: a limit
    /// that saw heads alone would let in any number of streams.
    fn teach(&self, since: Instant) {
        let (hall, now) = (self.door.hall(), Instant::now());
        let silent = self.stamp.is_some_and(|stamp| hall.is_silent(stamp));
        if silent || hall.counts_waiting() {
            return;
        }
        let latency = now.saturating_duration_since(since);
        let in_flight = hall.in_flight_working();
        let sample = Sample { in_flight, ..Sample::new(latency, Outcome::Success) };
        hall.learn(&sample, self.stamp, self.door.timestamp(now));
    }

    fn stamp_again(&mut self) {
        if let Some(stamp) = &mut self.stamp {
            *stamp = self.door.hall().stamp_again(*stamp, || self.door.now());
        }
    }

    fn unstamp(&mut self) {
        if let Some(stamp) = self.stamp.take() {
            self.door.hall().unstamp(stamp, || self.door.now());
        }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        self.unstamp();
        self.door.hall().leave(|| self.door.now());
    }
}
