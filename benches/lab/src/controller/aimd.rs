//! AIMD of Netflix/concurrency-limits, with its defaults (20 in 20..=200, × 0.9, 5 s).
//!
//! Source: `AIMDLimit.java` at 784c960, behind its `SimpleLimiter`. The core's is the same to the bit: both
//! round the product down, and both count up by one while half of the limit is in flight. A cancelled call is
//! ignored, as in its gRPC server interceptor.

use backpressure_core::Aimd;

use crate::controller::limiter::{Limiter, Published};
use crate::controller::{Controller, Site};

pub(super) fn make(_site: &Site) -> Box<dyn Controller> {
    Limiter::of(Published(Aimd::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, overload, success};

    /// AIMDLimitTest.java: increaseOnSuccess 20 → 21, decreaseOnDrops 30 → 27.
    #[test]
    fn the_published_figures_are_reproduced() {
        let mut limiter = make(&SITE);
        limiter.arrive(attempt(1), at(0));
        limiter.depart(attempt(1), &success(1_000, 10), at(1));
        assert_eq!(limiter.limit(), 21.0);
        let mut limiter = Limiter::of(Published(Aimd::new().initial(30)));
        limiter.arrive(attempt(1), at(0));
        limiter.depart(attempt(1), &overload(0, 0), at(1));
        assert_eq!(limiter.limit(), 27.0);
    }
}
