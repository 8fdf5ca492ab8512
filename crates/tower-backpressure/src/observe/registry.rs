//! The registry of live policies: each layer of this process, for as long as it exists.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::report::Report;

/// Knows every layer of this process that has a name, for as long as the layer exists: what a dashboard shows.
///
/// Layers enter themselves when they are made. A request never looks into the registry: nothing of it is on the
/// way of requests but one read of a flag, which says whether anything [watches](Self::watch).
///
/// ```
/// use tower_backpressure::observe::{Kind, Registry};
/// use tower_backpressure::BulkheadLayer;
///
/// let layer = BulkheadLayer::new("payments-of-registry", 10);
/// let reports = Registry::global().reports();
/// let report = reports.iter().find(|report| &*report.name == "payments-of-registry");
/// let report = report.expect("the layer exists");
/// assert_eq!(report.kind, Kind::Bulkhead);
/// assert_eq!(report.limiter.as_ref().map(|limiter| limiter.limit), Some(10));
///
/// drop(layer);
/// assert!(Registry::global().report(report.id).is_none());
/// ```
#[derive(Clone)]
pub struct Registry(Arc<Mutex<Entries>>);

/// Has requests counted and timed in all layers, until it is dropped: see [`Registry::watch`].
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch(());

/// A layer, as the registry sees it.
pub(crate) trait Part: fmt::Debug + Send + Sync + 'static {
    fn report(&self) -> Report;

    /// For those that look for parts of one type.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

#[derive(Debug, Default)]
struct Entries {
    parts: Vec<(u64, Weak<dyn Part>)>,
    /// Number of entries at which those of layers that have ended are removed.
    cleaned_at: usize,
}

static GLOBAL: LazyLock<Registry> = LazyLock::new(|| Registry(Arc::default()));
static WATCHES: AtomicUsize = AtomicUsize::new(0);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// A registry this small is not worth cleaning.
const MIN_CLEANED_AT: usize = 16;

/// Whether requests are counted.
#[inline(always)]
pub(crate) fn is_watched() -> bool {
    WATCHES.load(Ordering::Relaxed) != 0
}

/// The number of a layer that is being made: 1, 2, and so on.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Registry {
    /// The registry of this process.
    #[must_use]
    pub fn global() -> &'static Self {
        &GLOBAL
    }

    /// What all layers are and do now, in the order in which they were made.
    ///
    /// It takes the lock of each limiter for a moment, about a microsecond a layer: call it once a second rather than
    /// with each request. Numbers of requests begin with the first [`watch`](Self::watch).
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        // The lock is released before layers are asked, and before one that ends meanwhile is dropped.
        self.parts().iter().map(|part| part.report()).collect()
    }

    /// The same for one layer; `None`: it has ended.
    #[must_use]
    pub fn report(&self, id: u64) -> Option<Report> {
        let part = {
            let entries = self.lock();
            let found = entries.parts.iter().find(|(other, _)| *other == id);
            found.and_then(|(_, part)| part.upgrade())
        };
        part.map(|part| part.report())
    }

    /// Has requests counted and timed from now until what is returned is dropped. It costs each request an atomic
    /// addition, and about a thousand requests a second of each layer two readings of the clock. Without it, no
    /// request is counted here; the features `metrics` and `tracing` and an observer do not need it.
    ///
    /// ```
    /// use tower_backpressure::observe::Registry;
    ///
    /// let watch = Registry::global().watch();
    /// // Reports now have numbers that grow.
    /// drop(watch);
    /// ```
    pub fn watch(&self) -> Watch {
        WATCHES.fetch_add(1, Ordering::Relaxed);
        Watch(())
    }

    /// Enters a layer. The time is constant on the average, however many there are.
    pub(crate) fn add(&self, id: u64, part: Weak<dyn Part>) {
        let mut entries = self.lock();
        if entries.parts.len() >= entries.cleaned_at.max(MIN_CLEANED_AT) {
            entries.parts.retain(|(_, part)| part.strong_count() > 0);
            entries.cleaned_at = 2 * entries.parts.len();
        }
        entries.parts.push((id, part));
    }

    /// The layers of this type, in the order in which they were made.
    pub(crate) fn all_of<T: Part>(&self) -> Vec<Arc<T>> {
        self.parts().into_iter().filter_map(|part| part.as_any().downcast().ok()).collect()
    }

    fn parts(&self) -> Vec<Arc<dyn Part>> {
        self.lock().parts.iter().filter_map(|(_, part)| part.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.parts().len();
        f.debug_struct("Registry").field("layers", &count).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::Kind;

    #[derive(Debug)]
    struct Layer(u64);

    impl Part for Layer {
        fn report(&self) -> Report {
            Report::new(self.0, "test", Kind::Retry)
        }

        fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
            self
        }
    }

    fn make(registry: &Registry, id: u64) -> Arc<Layer> {
        let layer = Arc::new(Layer(id));
        let part: Weak<Layer> = Arc::downgrade(&layer);
        registry.add(id, part);
        layer
    }

    #[test]
    fn a_hundred_thousand_layers_that_end_leave_nothing() {
        let registry = Registry(Arc::default());
        let kept = make(&registry, 0);
        (1..100_000).for_each(|id| drop(make(&registry, id)));
        assert!(registry.lock().parts.len() <= MIN_CLEANED_AT);
        assert_eq!(registry.reports().len(), 1);
        assert_eq!(registry.all_of::<Layer>().len(), 1);
        drop(kept);
        assert!(registry.report(0).is_none());
    }

    #[test]
    fn layers_that_live_are_cleaned_around_a_bounded_number_of_times() {
        let registry = Registry(Arc::default());
        let layers: Vec<_> = (0..1_000).map(|id| make(&registry, id)).collect();
        let ids: Vec<_> = registry.reports().iter().map(|report| report.id).collect();
        assert!(ids.iter().copied().eq(0..layers.len() as u64), "in the order of their making");
    }
}
