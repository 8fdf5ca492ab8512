//! Which policies a gauge shows: those of one name share it, and the last of them clears it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A policy that a gauge shows.
pub(crate) struct Shown {
    series: Series,
}

/// The names of a metric and of a policy.
type Series = (&'static str, String);

/// How many policies each gauge shows.
static SHOWN: Mutex<BTreeMap<Series, usize>> = Mutex::new(BTreeMap::new());

impl Shown {
    pub(crate) fn new(metric: &'static str, policy: &str) -> Self {
        let series = (metric, policy.to_owned());
        locked(|shown| *shown.entry(series.clone()).or_default() += 1);
        Self { series }
    }

    /// The policy is not shown any more. Where no other of its name is, the gauge has to be cleared: a recorder would keep
    /// its last value for ever.
    pub(crate) fn end(&self, clear: impl FnOnce()) {
        // Under the lock, so that a policy of the same name that begins now sets the gauge after this.
        locked(|shown| {
            let Some(count) = shown.get_mut(&self.series) else { return };
            *count -= 1;
            if *count == 0 {
                shown.remove(&self.series);
                clear();
            }
        });
    }
}

fn locked<T>(change: impl FnOnce(&mut BTreeMap<Series, usize>) -> T) -> T {
    change(&mut SHOWN.lock().unwrap_or_else(PoisonError::into_inner))
}
