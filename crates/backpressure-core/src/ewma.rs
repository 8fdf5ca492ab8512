//! The average that all estimators of this crate share.

/// An exponentially weighted moving average over a number of samples.
///
/// The first `time_constant` samples are averaged equally. After that each new one weighs
/// `1 / time_constant`, so a sample has lost all but 1/e of its weight after as many others. Of values
/// that scatter like exponential ones the relative standard error is `1 / √(2 · time_constant)`:
/// 13 % at 32 samples, 4 % at 256.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ewma {
    mean: f64,
    /// Samples so far, at most `time_constant`.
    samples: u32,
    time_constant: u32,
}

impl Ewma {
    /// An average without samples.
    pub(crate) const fn new(time_constant: u32) -> Self {
        Self { mean: 0.0, samples: 0, time_constant }
    }

    /// An average that has been `mean` for long.
    pub(crate) const fn settled_at(mean: f64, time_constant: u32) -> Self {
        Self { mean, samples: time_constant, time_constant }
    }

    /// Averages in one sample.
    pub(crate) fn add(&mut self, value: f64) {
        self.add_many(value, 1);
    }

    /// Averages in `count` samples of the same value.
    pub(crate) fn add_many(&mut self, value: f64, count: u32) {
        self.samples = self.samples.saturating_add(count).min(self.time_constant);
        let count = count.min(self.samples);
        if count > 0 {
            self.mean += (value - self.mean) * f64::from(count) / f64::from(self.samples);
        }
    }

    /// The average; 0 as long as there is no sample.
    pub(crate) const fn mean(&self) -> f64 {
        self.mean
    }

    /// Samples that the average rests on, at most the time constant.
    pub(crate) const fn samples(&self) -> u32 {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(average: &Ewma, expected: f64) -> bool {
        (average.mean() - expected).abs() < 1e-12
    }

    #[test]
    fn the_first_samples_are_averaged_equally() {
        let mut average = Ewma::new(4);
        for value in [2.0, 4.0, 9.0] {
            average.add(value);
        }
        assert!(is(&average, 5.0) && average.samples() == 3);
    }

    #[test]
    fn later_samples_weigh_one_over_the_time_constant() {
        let mut average = Ewma::settled_at(8.0, 4);
        average.add(0.0);
        assert!(is(&average, 6.0));
    }

    #[test]
    fn many_samples_of_one_value_count_as_many_and_no_more_than_the_time_constant() {
        let mut average = Ewma::new(4);
        average.add(1.0);
        average.add_many(2.0, 2);
        assert!(is(&average, 5.0 / 3.0));
        average.add_many(7.0, 1_000);
        assert!(is(&average, 7.0));
    }
}
