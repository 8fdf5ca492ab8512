//! The same traffic with an adaptive limit, without a layer, and with a limit tuned by hand.

use std::time::Duration;

use super::limiter::{adaptive, bare, tower_limit};
use super::{Load, Report};

/// Least useful work, as a share of that without a layer and with a limit tuned by hand.
const MIN_SHARE_OF_OTHERS: f64 = 0.99;

impl Load {
    /// Sends the traffic of `length` through the adaptive layer with its defaults. Expects that it serves no
    /// fewer requests of the named classes in time than no layer and tower's limit of `tuned`, from `from` to `length`.
    #[must_use]
    pub fn compare(
        &self,
        tuned: usize,
        length: Duration,
        names: &[&str],
        from: Duration,
    ) -> Report {
        let served = |report: &Report| -> usize {
            names.iter().map(|name| report.between(name, from, length).served).sum()
        };
        let without = served(&self.clone().run(length, bare));
        let with_tower = served(&self.clone().run(length, || tower_limit(tuned)));
        let report = self.clone().run(length, adaptive);
        let ours = served(&report);
        let needed = MIN_SHARE_OF_OTHERS * without.max(with_tower) as f64;
        let figures =
            format!("served {ours}, bare {without}, tower's limit of {tuned} {with_tower}");
        let is_enough = ours as f64 >= needed;
        report.relabel(&figures).expect(is_enough, figures)
    }
}
