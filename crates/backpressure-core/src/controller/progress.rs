//! Permits that show no sign of work, and a limit that is reached without protecting anything.

use std::cmp::Ordering;
use std::time::Duration;

use super::Controller;
use crate::limit::{Limit, Metering};
use crate::outcome::Outcome;
use crate::sample::Sample;
use crate::stall_detector::Reached;
use crate::time::Timestamp;

/// A permit without a sign of work counts apart after this many times the latency that all but one in
/// fifty attempts stay below. Sooner, and the long requests of a mix would not count towards the limit.
const SILENT_PERCENTILES_98: u32 = 2;
/// After this many times the median latency it counts apart in any case. Otherwise long polls that
/// are more than one in fifty of the responses would fill the limit and keep all other requests out.
const SILENT_MEDIANS: u32 = 32;
/// That time is no less than this: in a burst that has just begun, latency is far above the median so far.
const MIN_SILENT_MEDIANS: Duration = Duration::from_secs(1);
/// The shortest silence in any case: the scheduler, a garbage collector or a slow network can make a pause
/// of a tenth of a second.
const MIN_SILENCE: Duration = Duration::from_millis(250);
/// The silence where nothing is measured: how long the reader of a body may owe a read.
const UNMEASURED_SILENCE: Duration = Duration::from_secs(5);
/// A limit that has not risen for this time has stopped rising. Half of what a request is queued for by
/// default, so that the other half is left to reject; several times what a stalled limit takes to rise.
const MAX_TIME_BETWEEN_RISES: Duration = Duration::from_millis(500);

impl Controller {
    /// How long a permit shows no sign of work before it counts apart: until its next sign of work it is
    /// not in flight for this controller.
    ///
    /// Twice the 98th percentile of latency, at most 32 times the median or 1 s, and at least 250 ms. 5 s
    /// where nothing is measured.
    #[must_use]
    pub fn silence(&self) -> Duration {
        if self.metering() == Metering::Nothing {
            return UNMEASURED_SILENCE;
        }
        let by_percentile = self.latency.percentile_98().saturating_mul(SILENT_PERCENTILES_98);
        let by_median = self.latency.median().saturating_mul(SILENT_MEDIANS);
        MIN_SILENCE.max(by_percentile.min(by_median.max(MIN_SILENT_MEDIANS)))
    }

    /// Whether an attempt that only waits counts however long; see [`Limit::counts_waiting`].
    #[must_use]
    pub fn counts_waiting(&self) -> bool {
        self.limit.counts_waiting()
    }

    /// Workers have spent this much time on requests so far.
    pub fn worked(&mut self, worked: Duration) {
        self.worked = worked;
    }

    /// Learns from an attempt that finished while its permit counted apart; see [`silence`](Self::silence).
    pub fn complete_silent(&mut self, sample: &Sample) {
        // A caller that leaves what was silent all along says nothing about how long responses take.
        if sample.outcome == Outcome::Success {
            self.latency.record_quantiles(sample);
            self.limit.observe_apart(sample);
        }
    }

    /// Tells the limit when it was reached for some time without protecting anything.
    pub(super) fn check_stall(&mut self, in_flight: usize, now: Timestamp) {
        self.check_rise(now);
        if in_flight < self.limit() {
            return self.stall.clear(self.worked, now);
        }
        let reached = Reached {
            limit: self.limit(),
            known: self.limit.is_known(),
            // What is held for longer counts apart.
            long: self.latency.percentile_98().min(self.silence()),
            workers: self.limit.workers().unwrap_or(1),
        };
        if self.stall.is_over(reached, self.worked, now) {
            self.limit.stalled(now);
        }
    }

    /// While a limit rises that is not known to protect the service, no request is rejected because of it.
    fn check_rise(&mut self, now: Timestamp) {
        let limit = self.limit();
        match limit.cmp(&self.last_rise.0) {
            Ordering::Less => self.last_rise = (limit, None),
            Ordering::Equal => {}
            Ordering::Greater => self.last_rise = (limit, Some(now)),
        }
        let rises = self.last_rise.1.is_some_and(|at| now.since(at) <= MAX_TIME_BETWEEN_RISES);
        self.limit_protects = self.limit.is_known() || !rises;
    }
}
