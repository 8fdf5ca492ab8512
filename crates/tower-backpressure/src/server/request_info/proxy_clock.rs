//! By how much the clock of a proxy is behind that of this host, as its requests show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::nanos::nanos;

/// Tells time in the queue of a proxy from a clock that is behind.
///
/// A queue has requests that pass it at once, and a clock that is behind has none. The least that a request of the last
/// minute or two has been on its way is therefore no queue. Without that, a clock that is behind by more than the time
/// of a request would have every request rejected.
#[derive(Debug)]
pub(super) struct ProxyClock {
    epoch: Instant,
    /// The number of the current window.
    window: AtomicU64,
    /// The least of the current window in nanoseconds, and of the one before.
    least: AtomicU64,
    least_before: AtomicU64,
}

/// Longer windows would believe a clock that was just set back for longer, shorter ones would take a queue that stands
/// for a clock.
const WINDOW: Duration = Duration::from_secs(60);

impl ProxyClock {
    pub(super) fn new() -> Self {
        let [least, least_before] = [u64::MAX; 2].map(AtomicU64::new);
        Self { epoch: Instant::now(), window: AtomicU64::new(0), least, least_before }
    }

    /// How long a request that arrives now was in the queue, of which the clock of the proxy says that it was on its way
    /// for this long.
    pub(super) fn queued(&self, on_its_way: Duration, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.epoch);
        let (window, known) =
            (since.as_secs() / WINDOW.as_secs(), self.window.load(Ordering::Relaxed));
        let on_its_way = nanos(on_its_way);
        let moves = window > known
            && self
                .window
                .compare_exchange(known, window, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        // Requests that arrive meanwhile may count in either window.
        let least = if moves {
            let before = self.least.swap(on_its_way, Ordering::Relaxed);
            self.least_before.store(before, Ordering::Relaxed);
            on_its_way.min(before)
        } else {
            let least = self.least.fetch_min(on_its_way, Ordering::Relaxed).min(on_its_way);
            least.min(self.least_before.load(Ordering::Relaxed))
        };
        Duration::from_nanos(on_its_way - least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_is_behind_is_no_queue_and_a_queue_is_one() {
        let (clock, now) = (ProxyClock::new(), Instant::now());
        for seconds in 0..300 {
            let at = now + seconds * SECOND;
            assert_eq!(clock.queued(20 * SECOND, at), Duration::ZERO);
            assert_eq!(clock.queued(23 * SECOND, at), 3 * SECOND);
        }
    }

    #[test]
    fn a_clock_that_is_set_is_known_at_once_or_within_two_windows() {
        let (clock, now) = (ProxyClock::new(), Instant::now());
        let queued = |on_its_way, second| clock.queued(on_its_way * SECOND, now + second * SECOND);
        assert_eq!(queued(20, 0), Duration::ZERO);
        assert_eq!(queued(0, 1), Duration::ZERO);
        assert_eq!(queued(20, 2), 20 * SECOND, "set right");
        let known = (3..200).find(|&second| queued(20, second).is_zero()).expect("it is known");
        assert!((60..=120).contains(&known), "{known}");
        // A service that was idle for an hour remembers it.
        assert_eq!(queued(20, 3_800), Duration::ZERO);
        assert_eq!(queued(26, 3_801), 6 * SECOND);
    }
}
