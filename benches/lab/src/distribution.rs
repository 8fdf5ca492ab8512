//! Distributions of durations, by their mean in seconds.

mod ieee;

use fastrand::Rng;
use serde::Deserialize;

use ieee::{exp, ln};

/// A distribution of durations in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Distribution {
    Fixed(f64),
    /// Exponential, by its mean.
    Exp(f64),
    /// Between two bounds.
    Uniform(f64, f64),
    /// `cv`: standard deviation over mean.
    Lognormal {
        mean: f64,
        cv: f64,
    },
    /// Bounded: the longest is `ratio` times the shortest, and the tail falls with `alpha`.
    Pareto {
        mean: f64,
        alpha: f64,
        ratio: f64,
    },
    Bimodal {
        short: f64,
        long: f64,
        share_long: f64,
    },
}

impl Distribution {
    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Fixed(mean)
            | Self::Exp(mean)
            | Self::Lognormal { mean, .. }
            | Self::Pareto { mean, .. } => mean,
            Self::Uniform(low, high) => 0.5 * (low + high),
            Self::Bimodal { short, long, share_long } => short + share_long * (long - short),
        }
    }

    /// What is wrong with its parameters; `None` if they are valid.
    pub(crate) fn fault(self) -> Option<&'static str> {
        let sound = match self {
            Self::Fixed(mean) | Self::Exp(mean) => is_span(mean),
            Self::Uniform(low, high) => {
                low.is_finite() && low >= 0.0 && is_span(high) && low < high
            }
            Self::Lognormal { mean, cv } => is_span(mean) && is_span(cv) && cv <= 20.0,
            Self::Pareto { mean, alpha, ratio } => {
                let tail = is_span(alpha) && (alpha - 1.0).abs() > 1e-3 && alpha <= 20.0;
                is_span(mean) && tail && ratio > 1.0 && ratio <= 1e9
            }
            Self::Bimodal { short, long, share_long } => {
                is_span(short) && is_span(long) && short < long && (0.0..=1.0).contains(&share_long)
            }
        };
        (!sound).then_some("spans must be above 0 and at most 1e6 s, in order, and shares in 0..=1")
    }

    /// Prepares it for sampling.
    pub(crate) fn prepare(self) -> Sampler {
        match self {
            Self::Fixed(span) => Sampler::Fixed(span),
            Self::Exp(mean) => Sampler::Exp(mean),
            Self::Uniform(low, high) => Sampler::Uniform { low, width: high - low },
            Self::Lognormal { mean, cv } => {
                let variance = ln(1.0 + cv * cv);
                Sampler::Lognormal { mu: ln(mean) - 0.5 * variance, sigma: variance.sqrt() }
            }
            Self::Pareto { mean, alpha, ratio } => {
                let power = |exponent: f64| exp(exponent * ln(ratio));
                let cut = 1.0 - power(-alpha);
                let over_least = alpha / (alpha - 1.0) * (1.0 - power(1.0 - alpha)) / cut;
                Sampler::Pareto { least: mean / over_least, cut, exponent: -1.0 / alpha }
            }
            Self::Bimodal { short, long, share_long } => {
                Sampler::Bimodal { short, long, share_long }
            }
        }
    }
}

fn is_span(value: f64) -> bool {
    value > 0.0 && value <= 1e6
}

/// A distribution with everything computed that does not depend on the random number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sampler {
    Fixed(f64),
    Exp(f64),
    Uniform { low: f64, width: f64 },
    Lognormal { mu: f64, sigma: f64 },
    Pareto { least: f64, cut: f64, exponent: f64 },
    Bimodal { short: f64, long: f64, share_long: f64 },
}

impl Sampler {
    /// The duration that belongs to `seed`: the same at every call.
    pub(crate) fn of(self, seed: u64) -> f64 {
        if let Self::Fixed(span) = self {
            return span;
        }
        let mut rng = Rng::with_seed(seed);
        match self {
            Self::Fixed(span) => span,
            Self::Exp(mean) => mean * unit(&mut rng),
            Self::Uniform { low, width } => low + width * rng.f64(),
            Self::Lognormal { mu, sigma } => exp(mu + sigma * normal(&mut rng)),
            Self::Pareto { least, cut, exponent } => {
                least * exp(exponent * ln(1.0 - cut * rng.f64()))
            }
            Self::Bimodal { short, long, share_long } => {
                if rng.f64() < share_long {
                    long
                } else {
                    short
                }
            }
        }
    }
}

/// Exponential with mean 1.
pub(crate) fn unit(rng: &mut Rng) -> f64 {
    -ln(1.0 - rng.f64())
}

/// Standard normal, by Marsaglia's polar method.
fn normal(rng: &mut Rng) -> f64 {
    loop {
        let (u, v) = (2.0 * rng.f64() - 1.0, 2.0 * rng.f64() - 1.0);
        let square = u * u + v * v;
        if square > 0.0 && square < 1.0 {
            return u * (-2.0 * ln(square) / square).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Distribution; 6] = [
        Distribution::Fixed(0.02),
        Distribution::Exp(0.02),
        Distribution::Uniform(0.01, 0.03),
        Distribution::Lognormal { mean: 0.02, cv: 1.5 },
        Distribution::Pareto { mean: 0.02, alpha: 1.5, ratio: 1_000.0 },
        Distribution::Bimodal { short: 0.01, long: 0.11, share_long: 0.1 },
    ];

    #[test]
    fn every_distribution_has_its_mean() {
        for law in ALL {
            let draw = law.prepare();
            let count = 400_000_u64;
            let sum: f64 = (0..count).map(|n| draw.of(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).sum();
            let mean = sum / count as f64;
            assert!((mean / law.mean() - 1.0).abs() < 0.03, "{law:?}: {mean}");
            assert_eq!(law.fault(), None);
        }
    }

    #[test]
    fn a_lognormal_has_its_coefficient_of_variation() {
        let draw = Distribution::Lognormal { mean: 1.0, cv: 2.0 }.prepare();
        let draws: Vec<f64> = (0..400_000_u64).map(|n| draw.of(n << 7)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let square = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((square.sqrt() / mean / 2.0 - 1.0).abs() < 0.1, "{}", square.sqrt() / mean);
    }

    #[test]
    fn a_bounded_tail_keeps_its_bounds() {
        let draw = Distribution::Pareto { mean: 0.02, alpha: 1.5, ratio: 1_000.0 }.prepare();
        let draws: Vec<f64> = (0..100_000).map(|n| draw.of(n)).collect();
        let least = draws.iter().copied().fold(f64::MAX, f64::min);
        let most = draws.iter().copied().fold(0.0, f64::max);
        assert!(most / least <= 1_000.000_1 && most / least > 200.0, "{least}..{most}");
    }

    #[test]
    fn nonsense_is_refused() {
        for law in [
            Distribution::Fixed(f64::NAN),
            Distribution::Exp(0.0),
            Distribution::Exp(-1.0),
            Distribution::Uniform(0.3, 0.1),
            Distribution::Pareto { mean: 1.0, alpha: 1.0, ratio: 10.0 },
            Distribution::Bimodal { short: 0.1, long: 0.2, share_long: 1.2 },
        ] {
            assert!(law.fault().is_some(), "{law:?}");
        }
    }
}
