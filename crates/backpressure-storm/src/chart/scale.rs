//! Axes: from values to positions.

/// One axis of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) log: bool,
    /// Lines across the chart, with their labels.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    pub(crate) fn linear(from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { from, to, log: false, ticks }
    }

    pub(crate) fn log(from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { from, to, log: true, ticks }
    }

    /// Position of a value as a share of the axis; values beyond an end are placed at it.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let bend = |value: f64| {
            if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value }
        };
        ((bend(value) - bend(self.from)) / (bend(self.to) - bend(self.from))).clamp(0.0, 1.0)
    }
}

/// About five round values from zero up to `most`.
pub(crate) fn round_steps(most: f64) -> Vec<f64> {
    let rough = (most / 4.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|round| round * power)
        .find(|&step| step >= rough);
    let step = step.unwrap_or(rough);
    (0..=(most / step) as usize).map(|count| count as f64 * step).collect()
}

/// 1, 2 and 5 of every power of ten between two values.
pub(crate) fn decades(from: f64, to: f64) -> Vec<f64> {
    let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
    powers
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
        .filter(|value| (from..=to).contains(value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_gives_every_factor_the_same_length() {
        let axis = Axis::log(1.0, 100.0, vec![]);
        assert!((axis.place(10.0) - 0.5).abs() < 1e-12);
        assert_eq!((axis.place(0.0), axis.place(1e9)), (0.0, 1.0));
    }

    #[test]
    fn steps_are_round_and_cover_the_range() {
        assert_eq!(round_steps(230.0), [0.0, 100.0, 200.0]);
        assert_eq!(round_steps(1.1), [0.0, 0.5, 1.0]);
        assert_eq!(decades(4.0, 120.0), [5.0, 10.0, 20.0, 50.0, 100.0]);
    }
}
