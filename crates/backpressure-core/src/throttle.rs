//! Client-side throttling: rejects a share of the requests that the origin would reject anyway.

use std::time::Duration;

use crate::priority::Priority;
use crate::time::Timestamp;

/// Rejects requests in the client once the origin rejects most of them.
///
/// The rule of Google's SRE book (chapter 21, *Client-Side Throttling*): each request is rejected with
/// probability
///
/// ```text
/// max(0, (requests − K · accepts) / (requests + 1))
/// ```
///
/// `requests` have ended or were rejected here, and `accepts` of them were not rejected by the origin. Each
/// priority has counts of its own.
///
/// It differs from the book where the book's rule does harm:
///
/// - An attempt counts when it ends, not when it is sent. Otherwise a service that takes seconds would look
///   as if it rejected everything.
/// - The counts decay over [`window`](ThrottleSettings::window), two seconds and not two minutes. An origin
///   that is back would otherwise be throttled for minutes, as requests that are rejected here count too.
/// - Below [`min_requests`](ThrottleSettings::min_requests) nothing is rejected, and never more than
///   [`max_rejected`](ThrottleSettings::max_rejected).
///
/// ```
/// use backpressure_core::{Priority, Throttle, ThrottleSettings, Timestamp};
///
/// let mut throttle = Throttle::new(ThrottleSettings::default());
/// let (priority, now) = (Priority::Normal, Timestamp::ZERO);
/// for _ in 0..100 {
///     throttle.ended(priority, false, now);
/// }
/// assert_eq!(throttle.rejected_share(priority, now), 0.9);
/// ```
#[derive(Debug)]
pub struct Throttle {
    settings: ThrottleSettings,
    by_priority: [Counts; PRIORITIES],
}

/// The options of a [`Throttle`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ThrottleSettings {
    /// K: how many requests there may be for each accepted one. 2: the origin may reject half of them, which
    /// keeps it busy whatever its load. At 1.1 it hardly has to reject any, and its load is known late.
    pub k: f64,
    /// Time constant of the counts. Twice as long, and an origin that is back is throttled for twice as long;
    /// half as long, and the share scatters by a tenth at a hundred requests a second.
    pub window: Duration,
    /// Requests of a priority in the window below which none is rejected. With fewer, chance would
    /// reject requests of a quiet client.
    pub min_requests: f64,
    /// The largest share that is rejected. The rest finds out when the origin accepts again.
    pub max_rejected: f64,
}

/// Number of priorities.
const PRIORITIES: usize = 4;

/// Requests and accepts of one priority, each weighing less the longer ago it was.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: f64,
    accepts: f64,
    updated: Timestamp,
}

impl Throttle {
    /// A throttle that has seen no request.
    #[must_use]
    pub fn new(settings: ThrottleSettings) -> Self {
        Self { settings, by_priority: [Counts::default(); PRIORITIES] }
    }

    /// Decides on a request. `draw` is a random number, uniform in 0..1.
    pub fn admits(&mut self, priority: Priority, draw: f64, now: Timestamp) -> bool {
        let admits = draw >= self.rejected_share(priority, now);
        if !admits {
            self.counts(priority, now).requests += 1.0;
        }
        admits
    }

    /// An attempt has ended that the origin accepted, or rejected.
    pub fn ended(&mut self, priority: Priority, accepted: bool, now: Timestamp) {
        let counts = self.counts(priority, now);
        counts.requests += 1.0;
        counts.accepts += f64::from(u8::from(accepted));
    }

    /// The share of the requests of this priority that is rejected now, in 0..=`max_rejected`.
    #[must_use]
    pub fn rejected_share(&self, priority: Priority, now: Timestamp) -> f64 {
        let Counts { requests, accepts, .. } = self.decayed(priority, now);
        if requests < self.settings.min_requests {
            return 0.0;
        }
        let share = (requests - self.settings.k * accepts) / (requests + 1.0);
        share.clamp(0.0, self.settings.max_rejected)
    }

    fn counts(&mut self, priority: Priority, now: Timestamp) -> &mut Counts {
        let decayed = self.decayed(priority, now);
        let counts = &mut self.by_priority[priority as usize];
        *counts = decayed;
        counts
    }

    fn decayed(&self, priority: Priority, now: Timestamp) -> Counts {
        let Counts { requests, accepts, updated } = self.by_priority[priority as usize];
        let constants = now.since(updated).as_secs_f64() / self.settings.window.as_secs_f64();
        let left = (-constants).exp();
        Counts { requests: requests * left, accepts: accepts * left, updated: now.max(updated) }
    }
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self { k: 2.0, window: Duration::from_secs(2), min_requests: 20.0, max_rejected: 0.9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Priority = Priority::Normal;

    fn throttle(requests: u32, accepts: u32) -> Throttle {
        let mut throttle = Throttle::new(ThrottleSettings::default());
        for n in 0..requests {
            throttle.ended(NORMAL, n < accepts, Timestamp::ZERO);
        }
        throttle
    }

    fn share(requests: u32, accepts: u32) -> f64 {
        throttle(requests, accepts).rejected_share(NORMAL, Timestamp::ZERO)
    }

    #[test]
    fn the_share_is_that_of_the_published_formula() {
        assert_eq!(share(100, 50), 0.0);
        assert_eq!(share(100, 25), 50.0 / 101.0);
        assert_eq!(share(1_000, 400), 200.0 / 1_001.0);
        assert_eq!(share(20, 2), 16.0 / 21.0);
    }

    #[test]
    fn half_of_the_responses_may_be_rejections_and_a_quiet_client_is_never_throttled() {
        for requests in [1, 19, 20, 1_000] {
            assert_eq!(share(requests, requests / 2), 0.0, "{requests}");
        }
        assert_eq!(share(19, 0), 0.0);
    }

    #[test]
    fn a_priority_that_the_origin_accepts_is_not_throttled_because_of_another() {
        let mut throttle = throttle(1_000, 0);
        for _ in 0..100 {
            throttle.ended(Priority::Critical, true, Timestamp::ZERO);
        }
        assert_eq!(throttle.rejected_share(Priority::Critical, Timestamp::ZERO), 0.0);
        assert_eq!(throttle.rejected_share(NORMAL, Timestamp::ZERO), 0.9);
    }

    #[test]
    fn rejections_here_count_as_requests_and_are_forgotten_with_time() {
        let mut throttle = throttle(40, 0);
        assert!(!throttle.admits(NORMAL, 0.5, Timestamp::ZERO));
        assert_eq!(throttle.by_priority[NORMAL as usize].requests, 41.0);
        let later = Timestamp::ZERO + Duration::from_secs(2);
        assert_eq!(throttle.rejected_share(NORMAL, later), 0.0);
    }

    /// A thousand requests a second, an outage of a minute, and the origin is back.
    #[test]
    fn an_origin_that_accepts_again_is_used_again_within_seconds() {
        let mut throttle = Throttle::new(ThrottleSettings::default());
        let mut rng = 7_u64;
        let mut draw = || {
            rng =
                rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (rng >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut sent_after_return = [0; 20];
        for millis in 0..80_000_u64 {
            let now = Timestamp::ZERO + Duration::from_millis(millis);
            if throttle.admits(NORMAL, draw(), now) {
                throttle.ended(NORMAL, millis >= 60_000, now);
                if let Some(second) = millis.checked_sub(60_000) {
                    sent_after_return[usize::try_from(second / 1_000).unwrap()] += 1;
                }
            }
        }
        assert!(sent_after_return[0] >= 80, "{sent_after_return:?}");
        assert!(sent_after_return[6] >= 900, "{sent_after_return:?}");
    }
}
