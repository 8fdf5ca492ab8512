//! What a set promises, for any order of events.

use std::time::Duration;

use backpressure_core::{RequestInfo, Shed, Ticket};
use fastrand::Rng;

use super::*;
use crate::limiter::counter::Entry;
use crate::limiter::state::Answer;

const GUARANTEED: [usize; 3] = [4, 3, 1];
const TOTAL: usize = 12;

/// Three limiters of a set, and what each has in flight and in its queue.
struct World {
    set: Arc<Set>,
    limiters: Vec<Limiter>,
    running: Vec<Vec<(Entry, usize)>>,
    queued: Vec<Vec<(Ticket, usize)>>,
    now: Timestamp,
    seed: u64,
}

impl World {
    fn new(seed: u64, queue: QueueBounds) -> Self {
        let set = Set::new(TOTAL);
        let part = |guaranteed| Part { guaranteed, max: MAX, lends: 50, queue };
        let limiters = GUARANTEED.map(|it| set.add(part(it)).expect("they fit")).into();
        let (running, queued) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
        Self { set, limiters, running, queued, now: Timestamp::ZERO, seed }
    }

    fn arrive(&mut self, index: usize, cost: usize) -> Option<Shed> {
        let info = RequestInfo::default().cost(cost as u32);
        let queued: usize = self.queued[index].iter().map(|&(_, cost)| cost).sum();
        let (_, max) = self.limiters[index].limit_bounds();
        let guaranteed = GUARANTEED[index].min(max);
        match self.limiters[index].shared.request(info, self.now) {
            Answer::Run(entry) => self.running[index].push((entry, cost)),
            Answer::Wait(ticket, _) => self.queued[index].push((ticket, cost)),
            Answer::Shed(shed) => {
                let is_within = self.in_flight(index) + queued + cost <= guaranteed;
                assert!(!is_within, "seed {}: {shed} within the guarantee", self.seed);
                return Some(shed);
            }
        }
        None
    }

    fn release(&mut self, index: usize, number: usize) {
        let (entry, _) = self.running[index].swap_remove(number);
        let shared = &self.limiters[index].shared;
        match entry.hold {
            0 => shared.leave(|| self.now),
            hold => shared.leave_hold(hold, self.now),
        }
    }

    /// Collects what has left the queues.
    fn collect(&mut self) {
        for index in 0..3 {
            let shared = Arc::clone(&self.limiters[index].shared);
            let running = &mut self.running[index];
            self.queued[index].retain(|&(ticket, cost)| {
                match shared.collect(ticket, Waker::noop()) {
                    None => true,
                    Some(Ok(entry)) => {
                        running.push((entry, cost));
                        false
                    }
                    Some(Err(_)) => false,
                }
            });
        }
    }

    fn in_flight(&self, index: usize) -> usize {
        self.limiters[index].shared.in_flight()
    }

    fn check(&self, total: usize) {
        let seed = self.seed;
        let in_flight: usize = (0..3).map(|index| self.in_flight(index)).sum();
        assert!(in_flight <= total, "seed {seed}: {in_flight} of {total} in flight");
        let state = self.set.lock();
        let (total, excess) = (state.total, state.excess);
        drop(state);
        assert_eq!(
            self.set.units(),
            total + excess,
            "seed {seed}: units are neither lost nor made"
        );
    }
}

#[test]
fn no_order_of_events_exceeds_the_total_or_denies_a_guarantee() {
    for _ in 0..300 {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let queue = match rng.u8(..3) {
            0 => QueueBounds::NONE,
            1 => QueueBounds::new(3, Duration::from_secs(1)),
            _ => QueueBounds::default(),
        };
        let mut world = World::new(seed, queue);
        // A total that was lower or higher at some time: what was admitted before stays in flight.
        let mut highest = TOTAL;
        let changes_total = rng.bool();
        let costs = if rng.bool() { 1 } else { 3 };
        for _ in 0..400 {
            world.now = world.now + Duration::from_millis(rng.u64(..20));
            let index = rng.usize(..3);
            match rng.u8(..20) {
                0..=9 => _ = world.arrive(index, rng.usize(1..=costs)),
                10..=16 if !world.running[index].is_empty() => {
                    let number = rng.usize(..world.running[index].len());
                    world.release(index, number);
                }
                17 if !world.queued[index].is_empty() => {
                    let number = rng.usize(..world.queued[index].len());
                    let (ticket, _) = world.queued[index].swap_remove(number);
                    world.limiters[index].shared.abandon(ticket, world.now);
                }
                18 if changes_total => {
                    let total = rng.usize(8..=20);
                    highest = highest.max(total);
                    world.set.set_total(total, world.now);
                }
                _ => world.limiters[index].shared.settle(world.now),
            }
            world.collect();
            world.check(highest);
        }
        for index in 0..3 {
            while !world.running[index].is_empty() || !world.queued[index].is_empty() {
                match world.running[index].is_empty() {
                    // Its queue waits for what others hold.
                    true => {
                        let (ticket, _) = world.queued[index].swap_remove(0);
                        world.limiters[index].shared.abandon(ticket, world.now);
                    }
                    false => world.release(index, 0),
                }
                world.collect();
                world.check(highest);
            }
        }
        assert_eq!((0..3).map(|index| world.in_flight(index)).sum::<usize>(), 0, "seed {seed}");
    }
}

#[test]
fn idle_permits_are_borrowed_but_for_the_half_that_is_kept() {
    let mut world = World::new(0, QueueBounds::NONE);
    while world.arrive(0, 1).is_none() {}
    // Four of its own, four that are free, and what the others lend: one of three, none of one.
    assert_eq!(world.in_flight(0), 4 + 4 + 1);
    assert!(world.arrive(1, 1).is_none() && world.arrive(1, 1).is_none());
    assert!(world.arrive(2, 1).is_none());
    world.check(TOTAL);
}

#[test]
fn the_next_permits_that_a_borrower_releases_go_back_before_its_own_requests() {
    let mut world = World::new(0, QueueBounds::default());
    (0..20).for_each(|_| _ = world.arrive(0, 1));
    let borrowed = world.in_flight(0);
    assert!(world.queued[0].len() > 10, "its own requests wait");
    for _ in 0..3 {
        assert!(world.arrive(1, 1).is_none());
    }
    let lacking = world.queued[1].len();
    assert_eq!(world.in_flight(1) + lacking, 3);
    for _ in 0..lacking {
        world.release(0, 0);
        world.collect();
    }
    assert_eq!(world.in_flight(1), 3, "as many releases as were lent bring all of it back");
    assert_eq!(world.in_flight(0), borrowed - lacking);
    world.check(TOTAL);
}

#[test]
fn an_operator_bounds_a_compartment_and_its_permits_bound_the_operator() {
    let mut world = World::new(0, QueueBounds::NONE);
    world.limiters[0].bound_limit(2, 2);
    while world.arrive(0, 1).is_none() {}
    assert_eq!(world.in_flight(0), 2);
    world.limiters[0].bound_limit(1_000, 1_000);
    while world.arrive(0, 1).is_none() {}
    assert!(world.in_flight(0) <= TOTAL);
    world.check(TOTAL);
}
