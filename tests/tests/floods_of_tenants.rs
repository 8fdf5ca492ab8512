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
/// What a limiter takes, however many tenants there are: it remembers some 16 000 that have asked for more than their
/// share, at 100 to 200 bytes each. A hundred thousand would take twice this.
const MAX_BYTES: isize = 6 * 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_tenants_take_some_megabytes_at_most() {
    assert_memory_is_bounded(100_000).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes 20 s without optimizations"]
async fn a_million_tenants_take_no_more() {
    assert_memory_is_bounded(1_000_000).await;
}

async fn assert_memory_is_bounded(tenants: u32) {
    let limiter = Limiter::fixed(8, QueueBounds::new(64, Duration::from_secs(1)));
    let _all = std::array::from_fn::<_, 8, _>(|_| limiter.try_acquire().expect("a free permit"));
    let region = Region::new(ALLOCATOR);
    flood(&limiter, tenants).await;
    let change = region.change();
    let growth = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    println!("{tenants} tenants: {growth} bytes");
    assert!(growth < MAX_BYTES, "{growth} bytes");
}

/// One request of each tenant; the last few wait, and the others leave.
async fn flood(limiter: &Limiter, tenants: u32) {
    let mut waiting = VecDeque::new();
    for tenant in 0..tenants {
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
