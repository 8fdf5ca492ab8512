//! What is read of a limiter without its lock.

use backpressure_core::{Controller, Metering, Mode};

use super::limit_changes::LimitChanges;
use super::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// What the state last said, readable without the lock.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) changes: LimitChanges,
    pub(super) min: AtomicUsize,
    pub(super) max: AtomicUsize,
    /// See [`Metering`]; its number.
    pub(super) metering: AtomicU32,
    /// One request in this many is measured.
    pub(super) sampling: AtomicU32,
    /// Whether admitted requests yield once before they run.
    pub(super) yields: AtomicBool,
    /// Whether a request that waits for something counts however long it waits.
    pub(super) counts_waiting: AtomicBool,
    /// Permits that count apart.
    pub(super) silent: AtomicUsize,
    pub(super) is_flooded: AtomicBool,
    /// Whether measurements change the limit.
    pub(super) adapts: AtomicBool,
    /// Whether an operator drains or stops the limiter.
    pub(super) is_stopping: AtomicBool,
}

impl Published {
    pub(super) fn new(controller: &Controller) -> Self {
        let published = Self {
            changes: LimitChanges::new(controller.limit()),
            min: AtomicUsize::new(0),
            max: AtomicUsize::new(0),
            metering: AtomicU32::new(0),
            sampling: AtomicU32::new(1),
            yields: AtomicBool::new(false),
            counts_waiting: AtomicBool::new(false),
            silent: AtomicUsize::new(0),
            is_flooded: AtomicBool::new(false),
            adapts: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        };
        published.settings(controller);
        published
    }

    /// Publishes what depends on the algorithm of the limit.
    pub(super) fn settings(&self, controller: &Controller) {
        let metering = match controller.metering() {
            Metering::Nothing => 0,
            Metering::Latency => 1,
            _ => 2,
        };
        self.metering.store(metering, Ordering::Relaxed);
        let (min, max) = controller.limit_bounds();
        self.min.store(min, Ordering::Relaxed);
        self.max.store(max, Ordering::Relaxed);
        self.yields.store(controller.yields(), Ordering::Relaxed);
        self.counts_waiting.store(controller.counts_waiting(), Ordering::Relaxed);
        let is_stopping = matches!(controller.mode(), Mode::Draining | Mode::Stopped);
        self.is_stopping.store(is_stopping, Ordering::Relaxed);
    }
}
