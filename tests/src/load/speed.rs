//! The speed of the bottleneck over time: pauses, slow periods, a dependency that stops.

use std::sync::Arc;
use std::time::Duration;

/// Least time for which a stop is assumed to last when it has no end.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// When a bottleneck works slower than usual.
#[derive(Clone, Debug, Default)]
pub struct Speed(Arc<[Slowdown]>);

/// A time, or a periodic time, during which work takes `factor` times as long.
#[derive(Clone, Copy, Debug)]
pub struct Slowdown {
    /// When it begins.
    pub from: Duration,
    /// When it ends.
    pub until: Duration,
    /// Repeats `length` every `period` between `from` and `until`; `None`: lasts all the time.
    pub repeats: Option<(Duration, Duration)>,
    /// Infinite: nothing is done.
    pub factor: f64,
}

impl Slowdown {
    /// Whether it is in force at a time, and when that changes next.
    fn at(&self, time: Duration) -> (bool, Duration) {
        if time < self.from {
            return (false, self.from);
        }
        if time >= self.until {
            return (false, FOREVER);
        }
        let Some((period, length)) = self.repeats else { return (true, self.until) };
        let since = (time - self.from).as_nanos() % period.as_nanos();
        let since = Duration::from_nanos(u64::try_from(since).expect("less than the period"));
        let is_slow = since < length;
        let change = time - since + if is_slow { length } else { period };
        (is_slow, change.min(self.until))
    }
}

impl Speed {
    /// All slowdowns together: their factors are multiplied.
    #[must_use]
    pub fn new(slowdowns: &[Slowdown]) -> Self {
        Self(slowdowns.into())
    }

    /// The time until work that begins or goes on now is done or the speed changes, and the work left then.
    #[must_use]
    pub fn elapsed_and_left(&self, now: Duration, work: Duration) -> (Duration, Duration) {
        let (mut factor, mut until) = (1.0, FOREVER);
        for slowdown in &*self.0 {
            let (is_slow, change) = slowdown.at(now);
            factor *= if is_slow { slowdown.factor } else { 1.0 };
            until = until.min(change);
        }
        let left_until = until - now;
        if factor.is_infinite() {
            return (left_until, work);
        }
        let needed = work.mul_f64(factor);
        if needed <= left_until {
            (needed, Duration::ZERO)
        } else {
            (left_until, work.saturating_sub(left_until.div_f64(factor)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn finish(speed: &Speed, mut now: Duration, mut work: Duration) -> Duration {
        while !work.is_zero() {
            let (elapsed, left) = speed.elapsed_and_left(now, work);
            (now, work) = (now + elapsed, left);
        }
        now
    }

    #[test]
    fn work_stops_in_a_pause_and_takes_longer_in_a_slow_period() {
        let pause = Slowdown {
            from: SECOND,
            until: 100 * SECOND,
            repeats: Some((5 * SECOND, SECOND / 2)),
            factor: f64::INFINITY,
        };
        let slow = Slowdown { from: 8 * SECOND, until: 10 * SECOND, repeats: None, factor: 2.0 };
        let speed = Speed::new(&[pause, slow]);
        assert_eq!(finish(&speed, Duration::ZERO, SECOND / 2), SECOND / 2);
        assert_eq!(finish(&speed, SECOND / 2, SECOND), 2 * SECOND);
        assert_eq!(finish(&speed, 8 * SECOND, SECOND), 10 * SECOND);
        assert_eq!(finish(&speed, 9 * SECOND, 2 * SECOND), 12 * SECOND);
        assert_eq!(finish(&speed, 6 * SECOND, SECOND), 7 * SECOND + SECOND / 2);
    }
}
