//! What happens while callers leave whatever the limit.

use super::{Experiment, Mode, Search};

/// A dependency that hangs is one reason, work that goes on for callers that have left long ago is another: both end
/// some time, and single attempts show it.
#[derive(Debug, Default)]
pub(super) struct Bottom {
    /// Attempts there without an answer.
    unanswered: f64,
}

/// Attempts that show whether others are answered again.
const MIN_SAMPLES_AT_BOTTOM: f64 = 4.0;
/// After so many in vain a higher limit has its turn: some services answer only what comes in numbers.
const MAX_SAMPLES_AT_BOTTOM: f64 = 64.0;

impl Experiment {
    /// Whether it looks for a limit at which callers do not leave.
    pub(in crate::limit::adaptive) fn is_in_vain(&self) -> bool {
        match &self.mode {
            Mode::Base(_) => self.usual.is_in_vain(),
            Mode::Search(search) => search.is_in_vain(),
            Mode::Bottom(_) => true,
            Mode::Tracker(_) => false,
        }
    }

    pub(super) fn wait_at_bottom(&mut self, limit: f64) {
        self.mode = Mode::Bottom(Bottom::default());
        self.go(limit);
    }

    /// Goes up once attempts are answered, and back to where it came from after enough in vain.
    pub(super) fn look_up(&mut self) {
        let Mode::Bottom(bottom) = &mut self.mode else { return };
        if self.cell.count() < MIN_SAMPLES_AT_BOTTOM {
            return;
        }
        let seen = std::mem::take(&mut self.cell);
        if !seen.is_in_vain() {
            self.usual = seen;
            return self.step(Search::start(self.limit, seen));
        }
        bottom.unanswered += seen.count();
        if bottom.unanswered >= MAX_SAMPLES_AT_BOTTOM {
            self.start_at(self.search_began_at);
        }
    }
}
