//! What a quota of one of a million tenants costs: time of a decision and memory, beside governor's keyed limiter.
//!
//! Tenants are asked in an order that no cache can guess, and contenders in turns. A decision of a shared quota takes its tokens from a lease,
//! which a store that has always more renews in the background.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Mutex;
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
const DECISIONS: u64 = 500_000;
const ROUNDS: usize = 15;
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

    let governed = governor::Quota::per_second(1_000.try_into().expect("not zero"));
    let governor: DefaultKeyedRateLimiter<u64> = RateLimiter::keyed(governed);
    let one = Quota::per_second(1_000);
    let two = one.and(Quota::per_day(10_000_000));
    let mut contenders = vec![
        Contender::new("governor, keyed", TENANTS, move |key| governor.check_key(&key).is_ok()),
        Contender::of_layer("one window", TENANTS, QuotaLayer::per("one", ByTenant, one)),
        Contender::of_layer("two windows", TENANTS, QuotaLayer::per("two", ByTenant, two)),
        Contender::new("hash map in shards", TENANTS, hash_map()),
        Contender::new("clock alone", TENANTS, |_| Instant::now().elapsed() < Duration::MAX),
    ];
    compare(&mut contenders);

    let many = Quota::per_second(100_000_000);
    let shared = SharedQuota::new(Generous).lease(1_000_000);
    let local = QuotaLayer::per("local", ByTenant, many);
    let shared = QuotaLayer::per("shared", ByTenant, many).shared(shared);
    compare(&mut [
        Contender::of_layer("local", 1_000, local),
        Contender::of_layer("shared", 1_000, shared),
    ]);
    ExitCode::SUCCESS
}

/// What decides on requests of a number of tenants.
struct Contender {
    name: &'static str,
    tenants: u64,
    decide: Box<dyn FnMut(u64) -> bool>,
    bytes: u64,
    rounds: Vec<Duration>,
}

impl Contender {
    /// Meets each tenant once.
    fn new(
        name: &'static str,
        tenants: u64,
        mut decide: impl FnMut(u64) -> bool + 'static,
    ) -> Self {
        let before = resident();
        for key in 0..tenants {
            assert!(decide(key), "a new tenant has tokens");
        }
        let bytes = resident().saturating_sub(before) / tenants;
        Self { name, tenants, decide: Box::new(decide), bytes, rounds: Vec::new() }
    }

    fn of_layer(name: &'static str, tenants: u64, layer: QuotaLayer) -> Self {
        let layer = layer.max_keys(2_000_000);
        Self::new(name, tenants, move |key| layer.handle().try_take(key, 1).is_ok())
    }

    fn run(&mut self) {
        let start = Instant::now();
        let (mut key, mut admitted) = (self.rounds.len() as u64, 0_u64);
        for _ in 0..DECISIONS {
            key = (key + STEP) % self.tenants;
            admitted += u64::from((self.decide)(key));
        }
        std::hint::black_box(admitted);
        self.rounds.push(start.elapsed());
    }
}

/// Rounds of all contenders in turn; what the first takes in a round is one.
fn compare(contenders: &mut [Contender]) {
    for round in 0..ROUNDS {
        let turn = round % contenders.len();
        contenders[turn..].iter_mut().for_each(Contender::run);
        contenders[..turn].iter_mut().for_each(Contender::run);
    }
    let of_first = contenders[0].rounds.clone();
    println!("{} tenants: the median of {ROUNDS} rounds", contenders[0].tenants);
    for Contender { name, bytes, rounds, .. } in contenders {
        let nanos = rounds.iter().map(|it| it.as_secs_f64() * 1e9 / DECISIONS as f64);
        let shares = rounds.iter().zip(&of_first).map(|(it, first)| it.div_duration_f64(*first));
        let (nanos, share) = (median(nanos), median(shares));
        println!("{name:20} {nanos:6.1} ns  {share:5.2} of the first  {bytes:4} bytes a tenant");
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Hashing the key, a lock and one entry of a table: what the standard library takes for these.
fn hash_map() -> impl FnMut(u64) -> bool {
    let hasher = RandomState::new();
    let shards: Vec<Mutex<HashMap<u64, u128>>> = (0..128).map(|_| Mutex::default()).collect();
    move |key| {
        let shard = &shards[hasher.hash_one(key) as usize % shards.len()];
        *shard.lock().expect("nothing panics").entry(key).or_default() += 1;
        true
    }
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
