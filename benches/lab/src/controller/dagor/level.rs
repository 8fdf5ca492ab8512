//! DAGOR's compound levels and the cursor among them.

use backpressure_core::{Priority, Timestamp};

use crate::controller::AttemptInfo;

/// Arrivals and admissions of this window by level, and the levels that are admitted.
#[derive(Debug)]
pub(super) struct Levels {
    arrivals: [u32; LEVELS],
    arrived: u32,
    admitted: u32,
    /// Levels below it are admitted.
    cursor: usize,
}

/// Four business priorities of 128 user levels; 0 is the best. The levels of users change every hour.
pub(super) fn of(attempt: &AttemptInfo, now: Timestamp) -> usize {
    let business = match attempt.arrival.priority {
        Priority::Critical => 0,
        Priority::Deferrable => 2,
        Priority::Sheddable => 3,
        _ => 1,
    };
    let hour = now.as_nanos() / 3_600_000_000_000;
    let hash = (u64::from(attempt.user) + (hour << 32) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    business * USERS + (hash >> 57) as usize
}

impl Default for Levels {
    fn default() -> Self {
        Self { arrivals: [0; LEVELS], arrived: 0, admitted: 0, cursor: LEVELS }
    }
}

impl Levels {
    pub(super) fn admit(&mut self, level: usize) -> bool {
        let admitted = level < self.cursor;
        self.arrivals[level] += 1;
        self.arrived += 1;
        self.admitted += u32::from(admitted);
        admitted
    }

    pub(super) fn arrived(&self) -> u32 {
        self.arrived
    }

    /// Ends a window.
    pub(super) fn update(&mut self, overloaded: bool) {
        if self.arrived > 0 {
            self.cursor = self.cut(self.expected(overloaded));
            *self = Self { cursor: self.cursor, ..Self::default() };
        }
    }

    /// Admissions wanted of as many arrivals again.
    fn expected(&self, overloaded: bool) -> f64 {
        let admitted = f64::from(self.admitted);
        if overloaded {
            (1.0 - ALPHA) * admitted
        } else {
            admitted + BETA * f64::from(self.arrived)
        }
    }

    /// The number of levels whose arrivals together are not above `expected`.
    fn cut(&self, expected: f64) -> usize {
        let sums = self.arrivals.iter().scan(0.0, |sum, &count| {
            *sum += f64::from(count);
            Some(*sum)
        });
        sums.take_while(|&sum| sum <= expected).count()
    }

    #[cfg(test)]
    pub(super) fn admits_all(&self) -> bool {
        self.cursor == LEVELS
    }
}

const USERS: usize = 128;
const LEVELS: usize = 4 * USERS;
const ALPHA: f64 = 0.05;
const BETA: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::{at, attempt, attempt_of};

    /// §4.2.3 of the paper: after a window that admitted 1000 of 2000 the next admits 950 if it was overloaded,
    /// else 1020.
    #[test]
    fn the_published_alpha_and_beta_are_reproduced() {
        let levels = Levels { arrived: 2_000, admitted: 1_000, ..Levels::default() };
        assert_eq!((levels.expected(true), levels.expected(false)), (950.0, 1_020.0));
    }

    #[test]
    fn the_cursor_follows_the_admissions_wanted_and_returns_to_the_end() {
        let mut levels = Levels::default();
        for n in 0..1_000 {
            assert!(levels.admit(n % 100));
        }
        levels.update(true);
        assert!(levels.admit(94) && !levels.admit(95));
        levels.update(false);
        assert_eq!((levels.cursor, levels.arrived), (95, 0));
        levels.admit(0);
        levels.update(false);
        assert!(levels.admits_all());
    }

    #[test]
    fn business_priority_comes_before_user_level_and_user_levels_change_hourly() {
        let of_user = |user: u64, hour: u64| of(&attempt(user), at(hour * 3_600_000));
        let critical = of(&attempt_of(5, Priority::Critical), at(0));
        assert!(critical < USERS && (USERS..2 * USERS).contains(&of_user(5, 0)));
        assert!((0..10).any(|user| of_user(user, 0) != of_user(user, 1)));
    }
}
