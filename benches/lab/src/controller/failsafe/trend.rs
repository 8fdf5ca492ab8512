//! failsafe-go's averages and correlations: `internal/util` ewma.go, median.go, windows.go.

use std::collections::VecDeque;

/// The plain mean of the first ten values, from then on an exponential one.
#[derive(Debug)]
pub(super) struct Ewma {
    value: f64,
    sum: f64,
    count: u32,
    factor: f64,
}

impl Ewma {
    pub(super) fn over(age: u32) -> Self {
        Self { value: 0.0, sum: 0.0, count: 0, factor: 2.0 / (f64::from(age) + 1.0) }
    }

    pub(super) fn add(&mut self, value: f64) -> f64 {
        if self.count < WARM_UP {
            self.count += 1;
            self.sum += value;
            self.value = self.sum / f64::from(self.count);
        } else {
            self.value = self.value * (1.0 - self.factor) + value * self.factor;
        }
        self.value
    }

    #[cfg(test)]
    pub(super) fn value(&self) -> f64 {
        self.value
    }
}

/// The median of the last five values; the value itself until there are five.
#[derive(Debug, Default)]
pub(super) struct Median(VecDeque<f64>);

impl Median {
    pub(super) fn add(&mut self, value: f64) -> f64 {
        self.0.push_back(value);
        if self.0.len() < MEDIAN_OF {
            return value;
        }
        if self.0.len() > MEDIAN_OF {
            self.0.pop_front();
        }
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted[MEDIAN_OF / 2]
    }
}

/// Pearson's correlation over the last fifty pairs. Sums are computed anew each time.
#[derive(Debug, Default)]
pub(super) struct Correlation(VecDeque<(f64, f64)>);

impl Correlation {
    /// The correlation, and the coefficient of variation of `y`; 0 before the warm-up is over, and if either
    /// varies by less than one in a hundred.
    pub(super) fn add(&mut self, x: f64, y: f64) -> (f64, f64) {
        self.0.push_back((x, y));
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        self.value(WARM_UP as usize)
    }

    fn value(&self, warm_up: usize) -> (f64, f64) {
        let n = self.0.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.0.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|&(x, _)| x), mean(|&(_, y)| y));
        let spread_x = (mean(|&(x, _)| x * x) - x * x).max(0.0).sqrt();
        let spread_y = (mean(|&(_, y)| y * y) - y * y).max(0.0).sqrt();
        if self.0.len() < warm_up.max(2) || x == 0.0 || y == 0.0 {
            (0.0, 0.0)
        } else if spread_x / x < MIN_CV || spread_y / y < MIN_CV {
            (0.0, spread_y / y)
        } else {
            ((mean(|&(x, y)| x * y) - x * y) / (spread_x * spread_y), spread_y / y)
        }
    }
}

// adaptivelimiter.go: warmupSamples, smoothedSamples, correlationWindowSize; windows.go: minCV.
const WARM_UP: u32 = 10;
const MEDIAN_OF: usize = 5;
const WINDOW: usize = 50;
const MIN_CV: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    fn correlation(xs: [f64; 3], ys: [f64; 3]) -> (f64, f64) {
        Correlation(xs.into_iter().zip(ys).collect()).value(0)
    }

    #[track_caller]
    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-4, "{value} for {expected}");
    }

    /// windows_test.go: TestCorrelationWindow (1, −1 and 0 for a variation below 1 %) and
    /// TestRollingSumSliding (10, 20, 30 vary by 0.4082).
    #[test]
    fn the_published_correlations_are_reproduced() {
        let rising = correlation([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]);
        assert_near(rising.0, 1.0);
        assert_near(rising.1, 0.4082);
        assert_near(correlation([1.0, 2.0, 3.0], [30.0, 20.0, 10.0]).0, -1.0);
        assert_near(correlation([100.0, 100.1, 100.05], [200.0, 200.1, 200.05]).0, 0.0);
    }

    #[test]
    fn there_is_no_correlation_before_ten_pairs() {
        let mut window = Correlation::default();
        let values: Vec<_> =
            (1..=10).map(|n| window.add(f64::from(n), f64::from(n)).0.round()).collect();
        assert_eq!(values[8..], [0.0, 1.0]);
    }

    #[test]
    fn an_outlier_does_not_pass_the_median() {
        let mut median = Median::default();
        let values = [1.0, 9.0, 2.0, 3.0, 4.0, 5.0].map(|value| median.add(value));
        assert_eq!(values, [1.0, 9.0, 2.0, 3.0, 3.0, 4.0]);
    }
}
