//! Growing where nothing is seen to queue.

use super::window::Window;

/// Grows a limit that is reached while nobody waits for a worker, as long as it pays.
///
/// The bottleneck may then lie behind an await, where more concurrency only makes everything
/// slower. So each step is a test: if a higher limit brought no more throughput, or longer
/// latencies, the step is taken back and the next one waits, twice as long each time.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// The step under test.
    step: Option<Step>,
    /// Windows to pass before the next step.
    pause: u32,
    /// Steps in a row that did not pay.
    failures: u32,
}

#[derive(Debug)]
struct Step {
    from: f64,
    throughput: f64,
    latency: f64,
}

/// Doubling must bring this much more throughput.
const LEAST_GAIN: f64 = 1.25;
/// Doubling may lengthen latency by this much.
const MOST_LATENCY: f64 = 1.5;
/// The longest pause is 2 to this power windows.
const MOST_FAILURES: u32 = 10;

impl Growth {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The limit after a window in which `limit` was reached.
    pub(super) fn next(&mut self, limit: f64, full: &Window) -> f64 {
        let throughput = full.throughput();
        let latency = full.mean_latency().as_secs_f64();
        if let Some(step) = self.step.take() {
            if throughput < LEAST_GAIN * step.throughput || latency > MOST_LATENCY * step.latency {
                self.failures = (self.failures + 1).min(MOST_FAILURES);
                self.pause = 1 << self.failures;
                return step.from;
            }
            self.failures = 0;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return limit;
        }
        self.step = Some(Step { from: limit, throughput, latency });
        2.0 * limit
    }
}
