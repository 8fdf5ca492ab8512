//! Gradient2 of Netflix/concurrency-limits with its defaults: per sample, and in windows of 1 s.
//!
//! Source: `Gradient2Limit.java` at f2528de and `WindowedLimit.java` with its average window. The
//! core's Gradient2 is the same to the bit, for latencies above zero. The core's windows differ in
//! one sample of a whole run: the original closes a window of its own with the very first.

use backpressure_core::{Gradient2, Windowed};

use crate::controller::door::{Door, Published};
use crate::controller::{Controller, Site};

pub(super) fn per_sample(_site: &Site) -> Box<dyn Controller> {
    Door::of(Published(Gradient2::new()))
}

pub(super) fn windowed(_site: &Site) -> Box<dyn Controller> {
    Door::of(Published(Windowed::new(Gradient2::new())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::steps::{SITE, at, success, visitor};

    fn limits(mut door: Box<dyn Controller>, every: u64, count: u64) -> Vec<f64> {
        let step = |n| {
            door.arrive(visitor(n), at(n * every));
            door.depart(visitor(n), &success(10_000, 20), at(n * every));
            door.limit()
        };
        (0..count).map(step).collect()
    }

    /// README.md of the same repository: `L·g + queue`, smoothed by 0.2: four fifths of one a step.
    #[test]
    fn a_steady_latency_adds_a_fifth_of_the_published_queue_each_step() {
        assert_eq!(limits(per_sample(&SITE), 1, 5), [20.0, 21.0, 22.0, 23.0, 24.0]);
    }

    #[test]
    fn in_windows_it_steps_once_a_second() {
        let limits = limits(windowed(&SITE), 50, 61);
        assert_eq!((limits[20], limits[21], limits[60]), (20.0, 20.0, 21.0));
    }
}
