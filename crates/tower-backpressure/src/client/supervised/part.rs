//! What the registry shows of a cool-down, breaker or throttle layer.

use std::any::Any;
use std::sync::Arc;

use super::shared::{Origin, Shared, Supervision};
use crate::observe::{Part, PartReport, Report};

/// The number of most recently used origins among which the registry looks for those that matter most.
const EXAMINED: usize = 4 * Report::MAX_PARTS;

impl<T: Supervision> Part for Shared<T> {
    fn report(&self) -> Report {
        let telemetry = &self.common.telemetry;
        let mut report = Report::new(self.id, Arc::clone(telemetry.policy()), T::KIND);
        report.dry_run = self.common.dry_run;
        telemetry.stats().fill(&mut report);
        report.held = telemetry.count_held();
        report.transitions = telemetry.transitions();
        let (recent, count) = self.states.recent(EXAMINED);
        let now = self.now();
        let part = |(name, origin): (Arc<str>, Arc<Origin<T>>)| {
            let mut part = PartReport::new(&name);
            origin.state.fill(&mut part, now);
            part
        };
        report.set_parts(recent.into_iter().map(part).collect(), count);
        report
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
