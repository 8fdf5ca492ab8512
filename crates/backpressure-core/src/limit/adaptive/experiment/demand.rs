//! What becomes of an experiment when demand rises above capacity, or falls below it.

use super::{Experiment, Mode, UNREACHED_TURNOVERS};
use crate::limit_change::Cause;

impl Experiment {
    /// Demand has risen above capacity, or has fallen below it.
    pub(in crate::limit::adaptive) fn demand(&mut self, overloaded: bool) {
        self.cause = Cause::Demand { overloaded };
        self.overloaded = overloaded;
        match self.mode {
            // A limit that was never reached is no knee to stay at, and was measured long ago.
            Mode::Tracker(_) if self.is_to_begin_anew() => self.begin_anew(),
            Mode::Search(_) if self.is_to_begin_anew() && self.is_unreached() => self.begin_anew(),
            Mode::Tracker(_) => self.go(self.limit),
            Mode::Base(_) | Mode::Search(_) | Mode::Bottom(_) => {}
        }
    }

    /// Whether the limit has bound nothing for long.
    pub(super) fn is_unreached(&self) -> bool {
        self.short.count() > UNREACHED_TURNOVERS * self.limit
    }

    const fn is_to_begin_anew(&self) -> bool {
        self.overloaded && !self.known && !self.guarding
    }

    fn begin_anew(&mut self) {
        self.mode = Mode::Base(None);
        self.go(self.limit);
    }
}
