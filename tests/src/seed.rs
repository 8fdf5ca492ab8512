//! Randomness that can be had again.

use fastrand::Rng;

/// A seed and its generator: the number in the environment's `SEED`, or a new one. It is printed, so
/// that a test that fails says how to repeat it.
#[must_use]
pub fn seeded() -> (u64, Rng) {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("repeat with SEED={seed}");
    (seed, Rng::with_seed(seed))
}
