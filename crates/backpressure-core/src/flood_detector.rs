//! Tells a flood of retries from ordinary overload.

use crate::time::Timestamp;

/// Counts the requests that find the limit reached against the throughput of the service.
#[derive(Debug, Default)]
pub(crate) struct FloodDetector {
    /// Requests that found the limit reached, each weighing less the longer ago it came.
    recent: f64,
    updated: Timestamp,
}

/// Time constant of that count, in the mean time between two responses. Shorter, and a handful of
/// requests in one packet would be a flood; longer, and it would be noticed after more requests.
const TIME_CONSTANT_RESPONSES: f64 = 2.0;
/// A larger count is a flood. Ten times the throughput of the service makes a count of 20, which
/// by chance hardly ever doubles; clients that retry at once pass it within one response.
const FLOOD_REQUESTS: f64 = 40.0;

impl FloodDetector {
    /// A request finds the limit of a service reached that finishes `per_second`; `None`: unknown.
    pub(crate) fn limit_reached(&mut self, per_second: Option<f64>, now: Timestamp) {
        let Some(per_second) = per_second else { return };
        let responses = now.since(self.updated).as_secs_f64() * per_second;
        self.recent = self.recent * (-responses / TIME_CONSTANT_RESPONSES).exp() + 1.0;
        self.updated = now;
    }

    /// Whether there was a flood at the last request that found the limit reached.
    pub(crate) fn is_flood(&self) -> bool {
        self.recent >= FLOOD_REQUESTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Whether requests at this multiple of the throughput, evenly spaced, are a flood.
    fn floods(times: f64, per_second: f64) -> bool {
        let mut flood = FloodDetector::default();
        (0..1_000).any(|n| {
            let at = Duration::from_secs_f64(f64::from(n) / (times * per_second));
            flood.limit_reached(Some(per_second), Timestamp::ZERO + at);
            flood.is_flood()
        })
    }

    #[test]
    fn fifteen_times_the_throughput_is_ordinary_overload_and_twenty_five_times_a_flood() {
        for per_second in [5.0, 200.0, 20_000.0] {
            assert!(!floods(15.0, per_second) && floods(25.0, per_second), "{per_second} a second");
        }
    }
}
