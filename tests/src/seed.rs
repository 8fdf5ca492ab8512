//! Seeds that make a random test repeatable.

use fastrand::Rng;

/// A seed and its generator. The seed is the environment variable `SEED`, or random; it is printed, so
/// that a failing test says how to repeat it.
#[must_use]
pub fn seeded_rng() -> (u64, Rng) {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("repeat with SEED={seed}");
    (seed, Rng::with_seed(seed))
}
