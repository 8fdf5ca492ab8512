//! What is counted of a canary and of the file in force, and when the difference is no chance.
//!
//! ```text
//! of k failures, a canary with n of N requests has about k·n/N if both files are equally good
//! it has c or more with a probability of at most exp(−k·D)   (Chernoff)
//! D = q·ln(q/p) + (1 − q)·ln((1 − q)/(1 − p)),   q = c/k, p = n/N
//! ```
//!
//! Tenants differ: one that is always beyond its quota may be in the canary. So both parts are first compared under the
//! file in force. If the canary's part fails more often there already, by a factor `r` at most, `p` is that of a part
//! whose requests count `r` times. Nor is a canary worse whose part fails no more often than that part did before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a file can be worse in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// 429, 503, and gRPC's codes for both.
    Rejections,
    /// Any other server error.
    Errors,
    /// Slower than nine of ten requests of the file in force.
    Slow,
}

const SIGNALS: [Signal; 3] = [Signal::Rejections, Signal::Errors, Signal::Slow];

/// Requests by what became of them. Index 0 is the file in force, 1 the canary.
#[derive(Debug)]
pub(super) struct Counts {
    all: [Tally; SIGNALS.len()],
    /// Both parts under the file in force.
    before: [Tally; SIGNALS.len()],
    /// The canary alone, by parts of its tenants.
    cells: [[Tally; CELLS]; SIGNALS.len()],
    latencies: [AtomicU64; BUCKETS],
    /// From this bucket on a request is slow; 0: that is not known yet.
    slow_from: AtomicU64,
}

/// Requests, and how many of them failed in one way.
#[derive(Debug, Default)]
struct Tally {
    requests: [AtomicU64; 2],
    failed: [AtomicU64; 2],
}

/// One tenant whose requests always fail must not decide: it is in one cell.
const CELLS: usize = 16;
/// A cell with fewer requests says nothing.
const MIN_IN_CELL: u64 = 5;
/// Four buckets for each doubling of a latency, from a microsecond on: neighbours differ by 19 %.
const BUCKETS: usize = 160;
/// Requests of the file in force that say what is slow.
const MIN_FOR_LATENCY: u64 = 100;
/// The natural logarithm of the probability with which one look at one signal is wrong: 1.6·10⁻⁶. A canary of 10⁹
/// requests is looked at 80 times, and one that has lasted with few requests 100 times more, by three signals: it is
/// rolled back by chance once in a thousand times at most.
const LOG_FALSE_ALARM: f64 = -13.3;
/// The least factor between two rates that are called different, however many requests there are.
const MIN_FACTOR: f64 = 1.5;
/// The natural logarithm of the probability below which parts are said to differ before the canary: one in twenty.
const LOG_DIFFERENT: f64 = -3.0;
/// Standard deviations by which a factor between two parts may be larger than it was found.
const DEVIATIONS: f64 = 3.0;

impl Default for Counts {
    fn default() -> Self {
        Self {
            all: Default::default(),
            before: Default::default(),
            cells: std::array::from_fn(|_| Default::default()),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
            slow_from: AtomicU64::new(0),
        }
    }
}

impl Tally {
    fn add(&self, arm: usize, failed: bool) {
        self.requests[arm].fetch_add(1, Ordering::Relaxed);
        self.failed[arm].fetch_add(failed.into(), Ordering::Relaxed);
    }

    fn read(&self) -> [(u64, u64); 2] {
        // Failures first: a request that ends meanwhile then makes no share above one.
        let failed = self.failed.each_ref().map(|count| count.load(Ordering::Relaxed));
        let requests = self.requests.each_ref().map(|count| count.load(Ordering::Relaxed));
        [(requests[0], failed[0]), (requests[1], failed[1])]
    }

    fn shares(&self) -> [f64; 2] {
        self.read().map(|(requests, failed)| failed as f64 / requests.max(1) as f64)
    }

    /// Whether the canary fails more often than by this factor, beyond doubt.
    fn is_worse(&self, factor: f64) -> bool {
        let [(others, _), (ours, our_failed)] = self.read();
        if ours == 0 || others == 0 || our_failed == 0 {
            return false;
        }
        let [other_share, our_share] = self.shares();
        our_share >= other_share * factor * MIN_FACTOR && self.log_chance(factor) < LOG_FALSE_ALARM
    }

    /// The natural logarithm of the probability that the canary fails so often by chance, if its requests count as many
    /// times as this factor; at most.
    fn log_chance(&self, factor: f64) -> f64 {
        let [(others, other_failed), (ours, our_failed)] = self.read();
        let failed = (other_failed + our_failed) as f64;
        let weight = ours as f64 * factor;
        let (found, expected) = (our_failed as f64 / failed, weight / (weight + others as f64));
        if found > expected { -failed * divergence(found, expected) } else { 0.0 }
    }

    /// By what factor the canary's part fails more often than the others under one file, at most; 1 if no difference
    /// was found.
    fn factor(&self) -> f64 {
        let [(others, other_failed), (ours, our_failed)] = self.read();
        if ours == 0 || others == 0 || our_failed == 0 || self.log_chance(1.0) > LOG_DIFFERENT {
            return 1.0;
        }
        let low = other_failed as f64 - DEVIATIONS * (other_failed as f64).sqrt();
        self.highest_share() / (low.max(0.5) / others as f64)
    }

    /// The share of the canary's part that fails, at most; 0 if none has failed.
    fn highest_share(&self) -> f64 {
        let [_, (requests, failed)] = self.read();
        (failed as f64 + DEVIATIONS * (failed as f64).sqrt()) / requests.max(1) as f64
    }
}

/// How far a share that was found is from the expected one, in nats.
fn divergence(found: f64, expected: f64) -> f64 {
    let term = |q: f64, p: f64| if q <= 0.0 { 0.0 } else { q * (q / p).ln() };
    term(found, expected) + term(1.0 - found, 1.0 - expected)
}

impl Counts {
    /// A request has ended under the file in force, before the canary is live.
    pub(super) fn calibrate(
        &self,
        is_canary: bool,
        latency: Duration,
        failed: Option<Option<Signal>>,
    ) {
        let arm = usize::from(is_canary);
        if let Some(failed) = failed {
            for signal in [Signal::Rejections, Signal::Errors] {
                self.before[signal as usize].add(arm, failed == Some(signal));
            }
        }
        let bucket = bucket(latency);
        match self.slow_from.load(Ordering::Relaxed) {
            0 => self.learn_latency(bucket),
            from => self.before[Signal::Slow as usize].add(arm, bucket as u64 >= from),
        }
    }

    /// Whether each part had at least this number of requests.
    pub(super) fn is_calibrated(&self, requests: u64) -> bool {
        // The threshold of slow requests is learned last, so that the other counts are complete by then.
        let parts = self.before[Signal::Slow as usize].read();
        parts.iter().all(|(found, _)| *found >= requests)
    }

    /// A request has ended. `failed`: `None` if it was cancelled.
    pub(super) fn add(
        &self,
        is_canary: bool,
        key: u64,
        latency: Duration,
        failed: Option<Option<Signal>>,
    ) {
        let arm = usize::from(is_canary);
        // The upper bits have decided whether it is in the canary.
        let cell = key as usize % CELLS;
        if let Some(failed) = failed {
            for signal in [Signal::Rejections, Signal::Errors] {
                self.count(signal, arm, cell, failed == Some(signal));
            }
        }
        let bucket = bucket(latency);
        match self.slow_from.load(Ordering::Relaxed) {
            0 if arm == 0 => self.learn_latency(bucket),
            0 => {}
            slow_from => self.count(Signal::Slow, arm, cell, bucket as u64 >= slow_from),
        }
    }

    fn count(&self, signal: Signal, arm: usize, cell: usize, failed: bool) {
        self.all[signal as usize].add(arm, failed);
        if arm == 1 {
            self.cells[signal as usize][cell].add(arm, failed);
        }
    }

    /// Learns what is slow from the first requests of the file in force.
    fn learn_latency(&self, bucket: usize) {
        self.latencies[bucket].fetch_add(1, Ordering::Relaxed);
        let counts = self.latencies.each_ref().map(|count| count.load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        if total < MIN_FOR_LATENCY {
            return;
        }
        let mut seen = 0;
        let reaches = |(_, count): &(usize, &u64)| {
            seen += **count;
            seen * 10 >= total * 9
        };
        let slow_from = counts.iter().enumerate().find(reaches).map_or(BUCKETS, |(at, _)| at + 2);
        self.slow_from.store(slow_from as u64, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> [u64; 2] {
        self.all[Signal::Rejections as usize].read().map(|(requests, _)| requests)
    }

    /// What the canary is worse in, beyond doubt.
    pub(super) fn worse(&self) -> Option<Signal> {
        SIGNALS.into_iter().find(|&signal| {
            let (before, all) = (&self.before[signal as usize], &self.all[signal as usize]);
            let factor = before.factor();
            let [_, share] = all.shares();
            all.is_worse(factor)
                && share > before.highest_share()
                && self.is_general(signal, factor)
        })
    }

    /// Whether half of the canary's cells fail more often than the file in force does.
    fn is_general(&self, signal: Signal, factor: f64) -> bool {
        let [others, _] = self.all[signal as usize].shares();
        let most = others * factor * MIN_FACTOR;
        let known = self.cells[signal as usize].iter().map(Tally::read).map(|[_, ours]| ours);
        let (mut cells, mut worse) = (0, 0);
        for (requests, failed) in known.filter(|(requests, _)| *requests >= MIN_IN_CELL) {
            cells += 1;
            worse += usize::from(failed as f64 > requests as f64 * most);
        }
        worse * 2 >= cells
    }

    /// The shares of requests that were rejected or failed.
    pub(super) fn failing_shares(&self) -> [f64; 2] {
        let [rejected, failed] = [Signal::Rejections, Signal::Errors];
        let (one, other) =
            (self.all[rejected as usize].shares(), self.all[failed as usize].shares());
        [one[0] + other[0], one[1] + other[1]]
    }

    pub(super) fn describe(&self, signal: Signal) -> String {
        let what = match signal {
            Signal::Rejections => "are rejected",
            Signal::Errors => "fail",
            Signal::Slow => "are slow",
        };
        let percent = |share: f64| (share * 1_000.0).round() / 10.0;
        let [others, ours] = self.all[signal as usize].shares().map(percent);
        let [_, (requests, _)] = self.all[signal as usize].read();
        format!("{ours} % of its {requests} requests {what}, and {others} % of the others")
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = latency.as_secs_f64() * 1e6;
    let bucket = 4.0 * micros.max(1.0).log2();
    (bucket as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    const TENTH: Duration = Duration::from_millis(100);

    /// Runs a canary of 5 % to its end, with these failure rates; returns after how many of its requests it was worse.
    fn run(seed: u64, requests: u64, [other, ours]: [f64; 2], slower: f64) -> Option<u64> {
        let (mut rng, counts, mut next) = (Rng::with_seed(seed), Counts::default(), 100);
        for _ in 0..requests {
            let key = rng.u64(..);
            let is_canary = rng.f64() < 0.05;
            let failed = rng.f64() < if is_canary { ours } else { other };
            let factor = if is_canary { slower } else { 1.0 };
            let latency = TENTH.mul_f64(factor * -rng.f64().max(1e-9).ln());
            counts.add(is_canary, key, latency, Some(failed.then_some(Signal::Errors)));
            let [_, ours] = counts.requests();
            if ours >= next {
                next = ours + ours.div_ceil(4);
                if counts.worse().is_some() {
                    return Some(ours);
                }
            }
        }
        None
    }

    #[test]
    fn equal_noise_rolls_no_canary_back() {
        for rate in [0.0, 0.01, 0.1, 0.5] {
            let alarms = (0..100).filter(|&seed| run(seed, 20_000, [rate; 2], 1.0).is_some());
            assert_eq!(alarms.count(), 0, "{rate}");
        }
    }

    #[test]
    fn a_canary_that_fails_more_or_takes_longer_is_noticed_within_a_few_hundred_of_its_requests() {
        for seed in 0..20 {
            for (rates, slower, most) in
                [([0.0, 0.3], 1.0, 200), ([0.01, 0.1], 1.0, 500), ([0.01; 2], 3.0, 500)]
            {
                let noticed = run(seed, 100_000, rates, slower);
                assert!(
                    noticed.is_some_and(|at| at <= most),
                    "{rates:?} {slower} {seed}: {noticed:?}"
                );
            }
        }
    }

    #[test]
    fn tenants_that_failed_before_decide_nothing_and_are_noticed_when_they_fail_more() {
        let count = |counts: &Counts, is_before: bool, rates: [u64; 2], requests: u64| {
            for request in 0..requests {
                let is_canary = request % 10 == 0;
                let failed = request / 10 % 100 < rates[usize::from(is_canary)];
                let failed = Some(failed.then_some(Signal::Rejections));
                match is_before {
                    true => counts.calibrate(is_canary, TENTH, failed),
                    false => counts.add(is_canary, request / 10, TENTH, failed),
                }
            }
        };
        let counts = Counts::default();
        count(&counts, true, [2, 20], 20_000);
        assert!(counts.is_calibrated(1_000));
        count(&counts, false, [2, 20], 100_000);
        assert_eq!(counts.worse(), None, "as before");
        count(&counts, false, [2, 90], 200_000);
        assert_eq!(counts.worse(), Some(Signal::Rejections));
    }

    /// Ten thousand canaries: `cargo test -p tower-backpressure --features policy --lib -- --ignored equal_noise`.
    #[test]
    #[ignore = "it takes a minute"]
    fn equal_noise_rolls_back_fewer_than_one_canary_in_a_thousand() {
        let rates = [0.01, 0.05, 0.2, 0.5].into_iter().cycle();
        let alarms = (0..10_000).zip(rates);
        let alarms = alarms.filter(|&(seed, rate)| run(seed, 10_000, [rate; 2], 1.0).is_some());
        assert!(alarms.count() < 10);
    }

    #[test]
    fn one_tenant_that_always_fails_decides_nothing() {
        let counts = Counts::default();
        for request in 0..20_000_u64 {
            let is_canary = request % 20 == 0;
            let key = if request % 200 == 0 { 7 } else { request / 20 };
            let failed = (is_canary && key == 7).then_some(Signal::Rejections);
            counts.add(is_canary, key, TENTH, Some(failed));
        }
        assert_eq!(counts.worse(), None);
    }
}
