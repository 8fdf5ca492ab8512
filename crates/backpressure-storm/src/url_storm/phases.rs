//! The phases of a step of the storm, and how long each lasts.

use crate::event_log::Window;
use crate::scenario::BASE;
use crate::url_storm::measure::Lab;
use crate::url_storm::trigger::Trigger;
use std::time::Duration;

/// The phases of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phases {
    /// At [`BASE`] of the capacity.
    pub(crate) before: Duration,
    pub(crate) settle: Duration,
    pub(crate) window: Duration,
    /// At [`BASE`] again.
    pub(crate) after: Duration,
}

impl Phases {
    pub(crate) fn of(lab: &Lab, trigger: Trigger, capacity: f64) -> Self {
        let options = &lab.options;
        let seconds =
            |full, quick| Duration::from_secs_f64(if options.quick { quick } else { full });
        // Enough requests to see a share of 95 %.
        let enough = Duration::from_secs_f64((60.0 / (BASE * capacity)).min(20.0));
        let after = seconds(6.0, 4.0).max(enough).max(options.deadline * 3);
        let window = options.window().max(Duration::from_secs_f64((30.0 / capacity).min(20.0)));
        match trigger {
            Trigger::BrownOut => Self {
                before: seconds(2.0, 1.5).max(enough),
                settle: Duration::ZERO,
                window: options.brown_out_lasts(),
                after: seconds(12.0, 8.0).max(after),
            },
            Trigger::Told => Self {
                before: seconds(2.0, 1.5).max(enough),
                settle: Duration::ZERO,
                window: TOLD_OVERLOAD,
                after: seconds(20.0, 12.0),
            },
            Trigger::Load(load) if load <= 1.0 => Self {
                before: Duration::ZERO,
                settle: options.deadline,
                window,
                after: Duration::ZERO,
            },
            Trigger::Load(load) => Self {
                before: seconds(2.0, 1.5).max(enough),
                settle: settle(options.deadline, load),
                window,
                after,
            },
        }
    }

    pub(crate) fn trigger(&self) -> Window {
        Window { from: self.before, to: self.before + self.settle + self.window }
    }

    pub(crate) fn measured(&self) -> Window {
        Window { from: self.before + self.settle, ..self.trigger() }
    }

    pub(crate) fn end(&self) -> Duration {
        self.trigger().to + self.after
    }
}

/// The overload of [`Trigger::Told`]: patient clients that are refused in two seconds at three times the capacity need
/// eight more to be served beside a load of one half.
const TOLD_OVERLOAD: Duration = Duration::from_secs(2);
pub(crate) const TOLD_LOAD: f64 = 3.0;
pub(crate) const TOLD_BASE: f64 = 0.5;

/// A limit that adapts needs about this long to find its level.
const ADAPTS: Duration = Duration::from_millis(1_500);

/// Time until a queue without a limit is past the deadline: it grows by `load` − 1 seconds a second, and requests
/// queued just before that are answered one deadline later.
fn settle(deadline: Duration, load: f64) -> Duration {
    deadline.mul_f64(load / (load - 1.0) * 1.05).max(ADAPTS)
}
