//! Worlds put together at random: services, clients and troubles that were not chosen by hand. In each of them
//! the adaptive limit with its defaults is to serve as much in time as no limit and as tower's limit, tuned by hand.
//!
//! `WORLDS=300 cargo test -p backpressure-tests --release --test harm_sweep no_world -- --ignored --nocapture` prints the
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

/// Least useful work, as a share of that of the better of the others.
const MIN_SHARE: f64 = 0.99;

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

/// Sorts the outcomes, the worst first, and prints them.
fn print_sorted(outcomes: &mut [Outcome]) {
    outcomes.sort_by(|a, b| a.share().total_cmp(&b.share()));
    table::print(outcomes);
}

/// Checks that each of these worlds is served as well as by others.
fn check(seeds: &[u64]) {
    let mut outcomes: Vec<_> = seeds.iter().copied().map(Outcome::of).collect();
    print_sorted(&mut outcomes);
    let worse = outcomes.iter().find(|outcome| outcome.share() < MIN_SHARE);
    let figures = worse.map(|it| (it.world.seed, it.ours, it.bare, it.tower));
    assert!(worse.is_none(), "world, ours, bare, tower: {figures:?}");
}

#[test]
fn services_with_and_without_a_bottleneck_are_served_as_by_a_limit_tuned_by_hand() {
    check(&[1, 2, 6, 7, 10, 13]);
}

#[test]
fn a_slow_pool_whose_requests_vary_a_hundredfold_is_served_as_by_a_limit_tuned_by_hand() {
    check(&[899]);
}

#[test]
#[ignore = "known miss: 0 to 97 % served in time. The limit rises while attempts that end count apart, and takes minutes \
            to fall"]
fn small_and_slow_pools_whose_callers_wait_are_served_as_by_a_limit_tuned_by_hand() {
    check(&[28, 40, 163, 340, 362, 459, 572, 842, 868]);
}

#[test]
#[ignore = "known miss: 6 % served. The limit doubles once in each burst"]
fn bursts_of_fifteen_seconds_of_traffic_are_served_where_nothing_is_scarce() {
    check(&[275, 396]);
}

#[test]
#[ignore = "known miss: 28 to 90 % served"]
fn rising_and_swinging_traffic_is_served_where_nothing_is_scarce() {
    check(&[281, 347, 592, 769]);
}

#[test]
#[ignore = "known miss: 89 % served, 200 of 2 273 rejected"]
fn a_wide_pool_of_slow_work_at_half_load_has_no_rejection() {
    check(&[504]);
}

#[test]
#[ignore = "known miss: 285 of 1 000 worlds serve less than 0.99 of the others, 118 less than 0.8; takes minutes"]
fn no_world_is_worse_off_than_with_a_limit_tuned_by_hand() {
    if let Some(seed) = number("WORLD") {
        return table::print_timeline(World::random(seed));
    }
    let mut outcomes = outcomes(number("WORLDS").unwrap_or(300));
    print_sorted(&mut outcomes);
    let worse = outcomes.iter().filter(|outcome| outcome.share() < MIN_SHARE).count();
    assert_eq!(worse, 0, "worlds worse off");
}
