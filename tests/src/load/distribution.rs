//! Distributions of service times.

use std::f64::consts::TAU;
use std::time::Duration;

use fastrand::Rng;

const NANOS_PER_MILLI: f64 = 1e6;

/// The distribution of a duration.
#[derive(Clone, Copy, Debug)]
pub enum Distribution {
    /// Constant.
    Fixed(Duration),
    /// Exponential with this mean.
    Exponential(Duration),
    /// Lognormal with this mean, and this standard deviation as a share of the mean.
    Lognormal(Duration, f64),
    /// With this mean. A share of the draws is a hundred times as long as the others.
    Bimodal(Duration, f64),
}

/// How many times as long as the others the rare draws of [`Distribution::Bimodal`] are.
const RARE_TIMES: f64 = 100.0;

impl Distribution {
    /// One draw in whole milliseconds, the unit of tokio's timers. The rounding is random, so that it
    /// does not change the mean.
    #[must_use]
    pub fn draw(self, rng: &mut Rng) -> Duration {
        let nanos = match self {
            Self::Fixed(mean) => mean.as_nanos() as f64,
            Self::Exponential(mean) => mean.as_nanos() as f64 * exponential(rng),
            Self::Bimodal(mean, share) => {
                let usual = mean.as_nanos() as f64 / share.mul_add(RARE_TIMES - 1.0, 1.0);
                if rng.f64() < share { RARE_TIMES * usual } else { usual }
            }
            Self::Lognormal(mean, deviation) => {
                let variance = deviation.mul_add(deviation, 1.0).ln();
                let shifted = variance.sqrt().mul_add(normal(rng), -variance / 2.0);
                mean.as_nanos() as f64 * shifted.exp()
            }
        };
        Duration::from_millis((nanos / NANOS_PER_MILLI + rng.f64()) as u64)
    }

    /// The mean.
    #[must_use]
    pub const fn mean(self) -> Duration {
        match self {
            Self::Fixed(mean)
            | Self::Exponential(mean)
            | Self::Lognormal(mean, _)
            | Self::Bimodal(mean, _) => mean,
        }
    }
}

/// An exponential draw with mean one.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// A normal draw with mean zero and deviation one, by the Box-Muller transform.
fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (TAU * rng.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_has_its_nominal_mean() {
        let mean = Duration::from_micros(40_300);
        for distribution in [
            Distribution::Fixed(mean),
            Distribution::Exponential(mean),
            Distribution::Lognormal(mean, 1.0),
            Distribution::Bimodal(mean, 0.01),
        ] {
            let (mut rng, draws) = (Rng::with_seed(1), 100_000);
            let sum: Duration = (0..draws).map(|_| distribution.draw(&mut rng)).sum();
            let ratio = sum.as_secs_f64() / f64::from(draws) / mean.as_secs_f64();
            assert!((ratio - 1.0).abs() < 0.02, "{distribution:?}: {ratio}");
        }
    }
}
