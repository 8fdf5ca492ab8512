//! What a quota of one of a million tenants costs: time of a decision and memory, beside governor's keyed limiter.
//!
//! Tenants are asked in an order that no cache can guess. A decision of a shared quota takes its tokens from a lease,
//! which a store that has always more renews in the background.

use std::process::ExitCode;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, RateLimiter};
use tokio::time::Instant;
use tower_backpressure::server::{
    ByTenant, Exchange, ExchangeFuture, QuotaLayer, QuotaStore, SharedQuota,
};
use tower_backpressure::{Grant, Quota};

/// Tenants in the tables.
const TENANTS: u64 = 1_000_000;
/// Decisions in a round.
const DECISIONS: u64 = 2_000_000;
const ROUNDS: usize = 5;
/// A prime, so that the steps reach all tenants, and each is far from the last.
const STEP: u64 = 611_953;

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this too, without the flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    println!("{TENANTS} tenants: ns a decision (median of {ROUNDS} rounds), bytes a tenant");

    let one = QuotaLayer::per("one", ByTenant, Quota::per_second(1_000)).max_keys(2_000_000);
    report("one window", TENANTS, |key| one.handle().try_take(key, 1).is_ok());
    let quota = Quota::per_second(1_000).and(Quota::per_day(10_000_000));
    let two = QuotaLayer::per("two", ByTenant, quota).max_keys(2_000_000);
    report("two windows", TENANTS, |key| two.handle().try_take(key, 1).is_ok());
    drop((one, two));
    let quota = governor::Quota::per_second(1_000.try_into().expect("not zero"));
    let governor: DefaultKeyedRateLimiter<u64> = RateLimiter::keyed(quota);
    report("governor, keyed", TENANTS, |key| governor.check_key(&key).is_ok());
    drop(governor);

    println!("1 000 tenants in use, as a shared quota has them");
    let local = QuotaLayer::per("local", ByTenant, Quota::per_second(100_000_000));
    report("local", 1_000, |key| local.handle().try_take(key, 1).is_ok());
    let shared = QuotaLayer::per("shared", ByTenant, Quota::per_second(100_000_000))
        .shared(SharedQuota::new(Generous).lease(1_000_000));
    report("shared", 1_000, |key| shared.handle().try_take(key, 1).is_ok());
    ExitCode::SUCCESS
}

fn report(name: &str, tenants: u64, mut decide: impl FnMut(u64) -> bool) {
    let before = resident();
    for key in 0..tenants {
        assert!(decide(key), "a new tenant has tokens");
    }
    let bytes = resident().saturating_sub(before) / tenants;
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round(tenants, &mut decide)).collect();
    rounds.sort_unstable();
    let nanos = rounds[ROUNDS / 2].as_nanos() as f64 / DECISIONS as f64;
    println!("{name:20} {nanos:6.1} ns {bytes:6} bytes");
}

fn round(tenants: u64, decide: &mut impl FnMut(u64) -> bool) -> Duration {
    let start = Instant::now();
    let (mut key, mut admitted) = (0, 0_u64);
    for _ in 0..DECISIONS {
        key = (key + STEP) % tenants;
        admitted += u64::from(decide(key));
    }
    std::hint::black_box(admitted);
    start.elapsed()
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

/// A store that grants whatever it is asked for.
#[derive(Debug)]
struct Generous;

impl QuotaStore for Generous {
    fn exchange(&self, exchange: Exchange) -> ExchangeFuture<'_> {
        Box::pin(async move { Ok(Grant::new(exchange.claim.wanted.max(exchange.claim.spent))) })
    }
}
