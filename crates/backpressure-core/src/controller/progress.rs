//! Places that do not turn over: those that count apart, and a limit that is reached in vain.

use std::cmp::Ordering;
use std::time::Duration;

use super::Controller;
use crate::limit::{Limit, Metering};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::stall_detector::Reached;
use crate::time::Timestamp;

/// A place that has given no sign of work for so many times what all but a few answers take counts apart.
/// Less, and the work of a mix of short and long requests would not count.
const SILENT_LATENCIES: u32 = 2;
/// But after so many times what half of the answers take it counts apart in any case. Otherwise long polls that
/// are more than one in fifty of the answers would fill the limit, and keep all others out.
const SILENT_MEDIANS: u32 = 32;
/// Which is no less than this: the latency in a crowd that has just begun is far above the median so far.
const SILENT_AT_LEAST_BY_MEDIAN: Duration = Duration::from_secs(1);
/// And for so long at least: the scheduler, a collector of garbage or a slow network can make a pause of a
/// tenth of a second.
const SILENT_AT_LEAST: Duration = Duration::from_millis(250);
/// A limit that has not risen for so long has stopped: no longer than half of what a request waits by default,
/// and several times as long as a stalled limit takes to rise.
const RISING: Duration = Duration::from_millis(500);
/// Where nothing is measured, a reader may owe a read for so long before its place counts apart.
const READER_IDLE: Duration = Duration::from_secs(5);

impl Controller {
    /// How long a place is silent before it counts apart: it is no longer in flight then, for this
    /// controller, until it gives another sign of work.
    #[must_use]
    pub fn silence(&self) -> Duration {
        match self.metering() {
            Metering::Nothing => READER_IDLE,
            _ => {
                let long = self.latency.long.saturating_mul(SILENT_LATENCIES);
                let most = self.latency.median.saturating_mul(SILENT_MEDIANS);
                SILENT_AT_LEAST.max(long.min(most.max(SILENT_AT_LEAST_BY_MEDIAN)))
            }
        }
    }

    /// Whether a request that waits counts however long; see [`Limit::counts_waiting`].
    #[must_use]
    pub fn counts_waiting(&self) -> bool {
        self.limit.counts_waiting()
    }

    /// Workers have spent so much time on requests so far.
    pub fn worked(&mut self, worked: Duration) {
        self.worked = worked;
    }

    /// An attempt finished whose place had counted apart; see [`silence`](Self::silence).
    pub fn complete_silent(&mut self, sample: &Sample) {
        // A caller that leaves what was silent all along says nothing of how long answers take.
        if sample.outcome == Outcome::Success {
            self.ended(sample);
            self.limit.observe_apart(sample);
        }
    }

    /// An attempt ended that may have taken as long as any: answered, or called off by its caller.
    pub(super) fn ended(&mut self, sample: &Sample) -> bool {
        let tells = matches!(sample.outcome, Outcome::Success | Outcome::Cancelled);
        if tells {
            self.latency.learn_long(sample.latency);
        }
        if sample.outcome == Outcome::Success {
            self.latency.learn_median(sample.latency);
        }
        tells
    }

    /// Looks whether the limit is reached in vain, and lets it know.
    pub(super) fn watch(&mut self, in_flight: usize, now: Timestamp) {
        self.watch_rise(now);
        if in_flight < self.limit() {
            return self.stall.clear(self.worked, now);
        }
        let reached = Reached {
            limit: self.limit(),
            known: self.limit.is_known(),
            long: self.latency.long,
            workers: self.limit.workers().unwrap_or(1),
        };
        if self.stall.is_over(reached, self.worked, now) {
            self.limit.stalled(now);
        }
    }

    /// As long as a limit rises that is not known to protect anything, nothing is refused for its sake.
    fn watch_rise(&mut self, now: Timestamp) {
        let limit = self.limit();
        match limit.cmp(&self.risen.0) {
            Ordering::Less => self.risen = (limit, None),
            Ordering::Equal => {}
            Ordering::Greater => self.risen = (limit, Some(now)),
        }
        let rises = self.risen.1.is_some_and(|at| now.since(at) <= RISING);
        self.protects = self.limit.is_known() || !rises;
    }
}
