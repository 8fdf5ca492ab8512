//! Worlds put together at random: services, clients and troubles that nobody has thought of together. In each of them
//! the adaptive limit with its defaults is to serve as much in time as no limit and as tower's limit, tuned by hand.
//!
//! `WORLDS=300 cargo test -p backpressure-tests --release --test harm_sweep -- --include-ignored --nocapture` prints the
//! worst ones and a table of their parts. `WORLD=17` prints what happened in that world, second by second.

mod service;
mod table;
mod traffic;
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use traffic::{Before, Ends, run};
use world::World;

/// Threads that run worlds: each world has its own runtime and clock.
const THREADS: usize = 2;

/// What was served in time, after the time that a limiter may need to find its limit.
struct Outcome {
    world: World,
    bare: usize,
    tower: usize,
    ours: usize,
    rejected: usize,
}

impl Outcome {
    fn of(seed: u64) -> Self {
        let world = World::random(seed);
        let total = |ends: &[Ends], count: fn(&Ends) -> usize| -> usize {
            let from = usize::try_from(world.warm_up().as_secs()).expect("a short run");
            ends.iter().skip(from).map(count).sum()
        };
        let served = |before| total(&run(world, before), |ends| ends.served);
        let ours = run(world, Before::Ours);
        Self {
            world,
            bare: served(Before::Nothing),
            tower: served(Before::TowerLimit),
            ours: total(&ours, |ends| ends.served),
            rejected: total(&ours, |ends| ends.rejected),
        }
    }

    /// What was served as a share of what the better of the others serves.
    fn share(&self) -> f64 {
        match self.bare.max(self.tower) {
            0 => 1.0,
            best => self.ours as f64 / best as f64,
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn outcomes(count: u64) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed > count {
                        return;
                    }
                    let outcome = Outcome::of(seed);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "takes minutes"]
fn no_world_is_worse_off_than_with_a_limit_tuned_by_hand() {
    if let Some(seed) = number("WORLD") {
        return table::print_timeline(World::random(seed));
    }
    let mut outcomes = outcomes(number("WORLDS").unwrap_or(300));
    outcomes.sort_by(|a, b| a.share().total_cmp(&b.share()));
    table::print(&outcomes);
}
