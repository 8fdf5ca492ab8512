//! The scale of an axis, and the numbers that stand on it.

/// From the least to the largest value of an axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear(f64, f64),
    /// Values below the least are drawn at the least.
    Log(f64, f64),
}

impl Scale {
    /// The place of a value, from 0 to 1.
    pub(super) fn place(self, value: f64) -> f64 {
        let (least, most, value) = match self {
            Self::Linear(least, most) => (least, most, value),
            Self::Log(least, most) => (least.ln(), most.ln(), value.max(least).ln()),
        };
        ((value - least) / (most - least)).clamp(0.0, 1.0)
    }

    /// Round numbers between the ends: about five of them, or those that begin with 1, 2 or 5.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(least, most) => {
                let rough = (most - least) / 5.0;
                let decade = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
                let step = step.into_iter().find(|&step| step >= rough).unwrap_or(rough);
                let first = (least / step).ceil() as i64;
                let last = (most / step + 1e-9).floor() as i64;
                (first..=last).map(|n| n as f64 * step).collect()
            }
            Self::Log(least, most) => (-3..7)
                .flat_map(|decade| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(decade)))
                .filter(|value| (least * 0.999..=most * 1.001).contains(value))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(Scale::Linear(0.0, 35.0).ticks(), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(Scale::Linear(0.0, 1.0).ticks().len(), 6);
        assert_eq!(Scale::Log(1.0, 60.0).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn values_outside_an_axis_stand_at_its_ends() {
        assert_eq!(Scale::Linear(0.0, 10.0).place(20.0), 1.0);
        assert_eq!(Scale::Log(1.0, 100.0).place(0.0), 0.0);
        assert!((Scale::Log(1.0, 100.0).place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(Scale::Linear(0.0, 1.0).place(f64::INFINITY), 1.0);
    }
}
