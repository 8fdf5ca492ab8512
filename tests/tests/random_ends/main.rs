//! Requests that end in random ways, through every layer alone and nested: nothing is left in flight, in a queue or in
//! memory.
//!
//! In virtual time, in memory. `permits_are_released_on_sockets.rs` ends requests over HTTP/1 and HTTP/2.

use std::alloc::System;

use backpressure_tests::seed::seeded_rng;
use fastrand::Rng;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::task::JoinSet;

mod caller;
mod ending;
mod handler;
mod stacks;

use self::stacks::Stack;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests in the tests that always run, over all stacks.
const SOME_REQUESTS: usize = 100_000;
/// Requests in the test that runs when asked to.
const MANY_REQUESTS: usize = 1_000_000;
/// Callers at once: more than the limits and the queues of most stacks admit.
const CALLERS: usize = 64;
/// What may stay allocated after the last quarter of the requests that was not before it. Tables and pools grow to the
/// largest number of requests and tenants that were there at once, which a later moment may exceed; a leak of one
/// allocation in twenty requests would be more, and in a hundred when there are a million.
const MAX_GROWTH_BYTES: isize = 64 * 1024;

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_random_ends_leave_nothing_behind() {
    end_requests(SOME_REQUESTS).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes without optimizations: cargo test --release -p backpressure-tests --test random_ends -- --ignored"]
async fn a_million_random_ends_leave_nothing_behind() {
    end_requests(MANY_REQUESTS).await;
}

async fn end_requests(count: usize) {
    let (seed, mut rng) = seeded_rng();
    let stacks = stacks::all();
    let each = count / stacks.len() + 1;
    for stack in stacks {
        let name = stack.name;
        run(&stack, each / 4 * 3, &mut rng).await;
        let before = live_bytes();
        let ended = run(&stack, each / 4, &mut rng).await;
        let growth = live_bytes() - before;
        println!("{name}: {each} requests, the last {ended:?}, grew by {growth} bytes");
        assert!(ended.served > 0, "{name}, seed {seed}: {ended:?}");
        assert!(growth <= MAX_GROWTH_BYTES, "{name}, seed {seed}: {growth} bytes");
    }
}

/// How requests ended, as their callers saw it.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    served: usize,
    rejected: usize,
    failed: usize,
    left: usize,
}

/// Ends this many requests; afterwards none is left.
async fn run(stack: &Stack, count: usize, rng: &mut Rng) -> Ended {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (service, rng) = (stack.service.clone(), rng.fork());
        callers.spawn(caller::send_many(service, count / CALLERS, rng));
    }
    let all = callers.join_all().await.into_iter().fold(Ended::default(), Ended::and);
    stack.assert_idle().await;
    all
}

impl Ended {
    fn and(self, other: Self) -> Self {
        Self {
            served: self.served + other.served,
            rejected: self.rejected + other.rejected,
            failed: self.failed + other.failed,
            left: self.left + other.left,
        }
    }
}

fn live_bytes() -> isize {
    let now = ALLOCATOR.stats();
    now.bytes_allocated as isize - now.bytes_deallocated as isize
}
