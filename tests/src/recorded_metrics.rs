//! A recorder of metrics whose values a test can read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Keeps every value under the name of its metric followed by the values of its labels.
#[derive(Debug, Default)]
pub struct RecordedMetrics {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Values>>>,
    descriptions: Mutex<BTreeMap<String, String>>,
}

#[derive(Debug, Default)]
struct Values(Mutex<Vec<f64>>);

impl RecordedMetrics {
    /// The value of a counter.
    ///
    /// # Panics
    /// When no such counter is registered.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let counters = lock(&self.counters);
        counters.get(name).expect("a registered counter").load(Ordering::SeqCst)
    }

    /// The value of a gauge.
    ///
    /// # Panics
    /// When no such gauge is registered.
    #[must_use]
    pub fn gauge(&self, name: &str) -> f64 {
        let gauges = lock(&self.gauges);
        f64::from_bits(gauges.get(name).expect("a registered gauge").load(Ordering::SeqCst))
    }

    /// All values of a histogram, in the order in which they were recorded.
    ///
    /// # Panics
    /// When no such histogram is registered.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Vec<f64> {
        let histograms = lock(&self.histograms);
        lock(&histograms.get(name).expect("a registered histogram").0).clone()
    }
}

impl RecordedMetrics {
    /// The names of all metrics that were registered, without labels.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let (counters, gauges) = (lock(&self.counters), lock(&self.gauges));
        let histograms = lock(&self.histograms);
        let all = counters.keys().chain(gauges.keys()).chain(histograms.keys());
        all.filter_map(|name| name.split(' ').next()).map(str::to_owned).collect()
    }

    /// The names of those that are counters.
    #[must_use]
    pub fn counter_names(&self) -> BTreeSet<String> {
        let counters = lock(&self.counters);
        counters.keys().filter_map(|name| name.split(' ').next()).map(str::to_owned).collect()
    }

    /// The description of a metric.
    #[must_use]
    pub fn description(&self, name: &str) -> Option<String> {
        lock(&self.descriptions).get(name).cloned()
    }

    fn describe(&self, name: &KeyName, text: &str) {
        lock(&self.descriptions).insert(name.as_str().to_owned(), text.to_owned());
    }
}

impl Recorder for RecordedMetrics {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, &text);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, &text);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(lock(&self.counters).entry(name(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(lock(&self.gauges).entry(name(key)).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(lock(&self.histograms).entry(name(key)).or_default()))
    }
}

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        lock(&self.0).push(value);
    }
}

fn name(key: &Key) -> String {
    let labels = key.labels().map(metrics::Label::value).filter(|value| !value.is_empty());
    [key.name()].into_iter().chain(labels).collect::<Vec<_>>().join(" ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
