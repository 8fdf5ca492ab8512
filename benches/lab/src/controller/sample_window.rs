//! Samples since the last update, and their quantiles.
//!
//! Quantiles are exact, by nearest rank, where most originals sketch (t-digest, log-linear histogram).

/// Values in any unit. Beyond [`CAP`] they are only counted: the quantiles are then those of the first values.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleWindow {
    values: Vec<u64>,
    count: usize,
}

/// A second of a hundred thousand requests; no scenario comes near it.
const CAP: usize = 100_000;

impl SampleWindow {
    pub(super) fn add(&mut self, value: u64) {
        self.count += 1;
        if self.values.len() < CAP {
            self.values.push(value);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.count = 0;
    }

    /// The smallest value that a share of `quantile` does not exceed.
    pub(super) fn quantile(&mut self, quantile: f64) -> Option<u64> {
        let last = self.values.len().checked_sub(1)?;
        let rank = (quantile * self.values.len() as f64).ceil() as usize;
        Some(*self.values.select_nth_unstable(rank.saturating_sub(1).min(last)).1)
    }

    pub(super) fn least(&self) -> Option<u64> {
        self.values.iter().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_and_an_empty_window_has_none() {
        let mut window = SampleWindow::default();
        assert_eq!(window.quantile(0.5), None);
        for value in [5, 1, 4, 2, 3] {
            window.add(value);
        }
        assert_eq!(window.quantile(0.5), Some(3));
        assert_eq!(window.quantile(0.9), Some(5));
        assert_eq!((window.quantile(0.0), window.least()), (Some(1), Some(1)));
        window.clear();
        assert_eq!((window.len(), window.least()), (0, None));
    }
}
