//! Tenants without number.

use std::alloc::System;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_backpressure::{Limiter, Priority, QueueBounds, RequestInfo, Tenant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many of the requests wait at once.
const MAX_WAITING: usize = 32;
/// Memory for the requests that are there at once, and none for each tenant.
const MAX_GROWTH_BYTES: isize = 256 * 1024;

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_tenants_take_no_more_memory_than_a_thousand() {
    assert_memory_is_flat(100_000).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes 20 s without optimizations"]
async fn a_million_tenants_take_no_more_memory_than_a_thousand() {
    assert_memory_is_flat(1_000_000).await;
}

async fn assert_memory_is_flat(tenants: u32) {
    let limiter = Limiter::fixed(8, QueueBounds::new(64, Duration::from_secs(1)));
    let _all = std::array::from_fn::<_, 8, _>(|_| limiter.try_acquire().expect("a free permit"));
    flood(&limiter, 0, 1_000).await;
    let region = Region::new(ALLOCATOR);
    flood(&limiter, 1_000, tenants).await;
    let change = region.change();
    let growth = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes");
}

/// One request of each tenant; the last few wait, and the others leave.
async fn flood(limiter: &Limiter, from: u32, to: u32) {
    let mut waiting = VecDeque::new();
    for tenant in from..to {
        let info = RequestInfo::default().tenant(Tenant::new(format!("tenant {tenant}")));
        let mut acquire = Box::pin(limiter.acquire(info.priority(Priority::Sheddable)));
        match poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await {
            Poll::Ready(permit) => drop(permit),
            Poll::Pending => waiting.push_back(acquire),
        }
        if waiting.len() > MAX_WAITING {
            waiting.pop_front();
        }
    }
}
