//! RequestInfo times of an open loop, computed before the first request is sent.

use fastrand::Rng;
use std::time::Duration;

/// A constant rate, in requests per second, and its duration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) rate: f64,
    pub(crate) lasts: Duration,
}

/// RequestInfo times of a Poisson process whose rate goes through the steps. The same seed gives the same times.
pub(crate) fn poisson(seed: u64, steps: &[Step]) -> Vec<Duration> {
    let mut dice = Rng::with_seed(seed);
    let mut arrivals = Vec::new();
    let mut from = 0.0;
    for step in steps {
        let to = from + step.lasts.as_secs_f64();
        let mut at = from + gap(&mut dice, step.rate);
        while at < to {
            arrivals.push(Duration::from_secs_f64(at));
            at += gap(&mut dice, step.rate);
        }
        from = to;
    }
    arrivals
}

/// Exponential, by inversion; `1 − f64()` is never zero. A rate of zero never arrives.
fn gap(dice: &mut Rng, rate: f64) -> f64 {
    -(1.0 - dice.f64()).ln() / rate
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 2] = [
        Step { rate: 100.0, lasts: Duration::from_secs(100) },
        Step { rate: 1000.0, lasts: Duration::from_secs(100) },
    ];

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
        assert_eq!(poisson(7, &STEPS), poisson(7, &STEPS));
        assert_ne!(poisson(7, &STEPS), poisson(8, &STEPS));
    }

    #[test]
    fn each_step_has_its_own_mean() {
        for seed in 0..8 {
            let arrivals = poisson(seed, &STEPS);
            let slow = arrivals.iter().filter(|at| at.as_secs() < 100).count() as f64;
            let fast = arrivals.len() as f64 - slow;
            // Four standard deviations of a Poisson count.
            assert!((slow - 1e4).abs() < 400.0, "seed {seed}: {slow}");
            assert!((fast - 1e5).abs() < 1265.0, "seed {seed}: {fast}");
        }
    }

    #[test]
    fn gaps_are_distributed_exponentially() {
        let arrivals = poisson(3, &STEPS[1..]);
        let gaps: Vec<f64> =
            arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02);
    }

    #[test]
    fn arrivals_are_in_order_and_within_the_steps() {
        let arrivals = poisson(1, &STEPS);
        assert!(arrivals.is_sorted());
        assert!(arrivals.iter().all(|at| at.as_secs() < 200));
    }

    #[test]
    fn a_rate_of_zero_never_arrives() {
        assert!(poisson(1, &[Step { rate: 0.0, lasts: Duration::from_secs(10) }]).is_empty());
    }
}
