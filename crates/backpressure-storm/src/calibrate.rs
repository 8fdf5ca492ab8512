//! Calibration: capacity, latency without other requests, the cost of a rejection, and the best limit for
//! tower.

use crate::arrivals::{Step, poisson};
use crate::bench::Bench;
use crate::client::{Client, Retries, target};
use crate::cpu::{self, CpuTime};
use crate::event_log::{Counts, Log, Window, latencies, percentile};
use crate::generator::{Ask, send_closed_loop, send_one_at_a_time, send_open_loop};
use crate::handler::Handler;
use crate::server::Server;
use crate::stack::{Stack, room_for_one};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Longer than any wait of a calibration.
const PATIENT: Duration = Duration::from_secs(10);
/// Requests kept in flight to measure the capacity. The highest throughput of them is the capacity.
const LEVELS: [usize; 3] = [16, 32, 64];

/// Rounds through the levels, while other processes keep the server from its CPU.
const MAX_ROUNDS: usize = 3;
/// Share of a CPU that an undisturbed server uses at capacity; the kernel and the clocks take the rest.
pub(crate) const UNDISTURBED: f64 = 0.95;

/// What a handler can do on this machine, in this storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calibration {
    pub(crate) handler: Handler,
    /// Requests per second.
    pub(crate) capacity: f64,
    /// CPU time of the server per request.
    pub(crate) service: Duration,
    /// CPU time of the server per rejection, on a connection that is kept alive.
    pub(crate) refusal: Duration,
    /// Latencies of one request at a time.
    pub(crate) uncontended_p50: Duration,
    pub(crate) uncontended_p99: Duration,
    /// The best fixed limit for tower's layers; `None` if they are not run.
    pub(crate) tower_limit: Option<usize>,
}

impl Calibration {
    /// r: the cost of a rejection over the cost of a request.
    pub(crate) fn r(&self) -> f64 {
        self.refusal.as_secs_f64() / self.service.as_secs_f64().max(f64::EPSILON)
    }

    /// Share of a CPU that the server used at capacity.
    pub(crate) fn cpu_at_capacity(&self) -> f64 {
        self.capacity * self.service.as_secs_f64()
    }
}

/// How long [`calibrate`] takes.
pub(crate) fn expected(bench: &Bench, searches: bool) -> Duration {
    let timing = &bench.timing;
    let candidates = if searches { FACTORS.len() as u32 } else { 0 };
    timing.capacity * LEVELS.len() as u32
        + timing.uncontended
        + timing.refusal
        + timing.candidate * candidates
}

/// Measures a handler; `searches` if tower's limit is searched too.
pub(crate) async fn calibrate(
    bench: &Bench,
    handler: Handler,
    searches: bool,
    seed: u64,
) -> io::Result<Calibration> {
    let (uncontended_p50, uncontended_p99) = uncontended(bench, handler).await?;
    let mut best = (0.0, Duration::ZERO);
    for _ in 0..MAX_ROUNDS {
        for level in LEVELS {
            let found = capacity(bench, handler, level).await?;
            best = if found.0 > best.0 { found } else { best };
        }
        if !cpu::CLOCKS || best.0 * best.1.as_secs_f64() > UNDISTURBED {
            break;
        }
    }
    let (capacity, service) = best;
    if capacity <= 0.0 {
        return Err(io::Error::other("the service answers nothing"));
    }
    let refusal = refusal(bench, handler).await?;
    let mut tower_limit = None;
    if searches {
        let useful = capacity * uncontended_p50.as_secs_f64();
        tower_limit = Some(best_limit(bench, handler, capacity, useful, seed).await?);
    }
    Ok(Calibration {
        handler,
        capacity,
        service,
        refusal,
        uncontended_p50,
        uncontended_p99,
        tower_limit,
    })
}

fn once(bench: &Bench, server: &Server, patience: Duration, log: &Arc<Log>) -> Client {
    let retries = Retries::Once(bench.attempts(server, patience, log));
    Client { target: target(server.address, "/work"), retries }
}

/// Median and 99th percentile of the latency, one request at a time.
async fn uncontended(bench: &Bench, handler: Handler) -> io::Result<(Duration, Duration)> {
    let server = bench.serve(|| bench.router(handler)).await?;
    // The first request opens the connection.
    once(bench, &server, PATIENT, &Bench::log()).ask().await;
    let log = Bench::log();
    send_one_at_a_time(&once(bench, &server, PATIENT, &log), bench.timing.uncontended, &log)
        .await?;
    server.stop().await;
    let warm = Window { from: bench.timing.uncontended / 10, to: Duration::MAX };
    let all = latencies(&log.take(), warm);
    let at = |share| {
        percentile(&all, share).ok_or_else(|| io::Error::other("the service answers nothing"))
    };
    Ok((at(0.5)?, at(0.99)?))
}

/// Answers per second, and CPU time of the server per answer, with `level` requests in flight.
///
/// The requests run in step, so a count between two instants is wrong by up to `level`. CPU time has no such
/// error: the share of a CPU that the server used, over the CPU time of one answer, is the throughput.
async fn capacity(bench: &Bench, handler: Handler, level: usize) -> io::Result<(f64, Duration)> {
    let server = bench.serve(|| bench.router(handler)).await?;
    let log = Bench::log();
    let end = bench.timing.capacity;
    let client = once(bench, &server, PATIENT, &log);
    let before = CpuTime::now();
    let ((), share) = tokio::join!(
        send_closed_loop(&client, level, end, &log),
        share(Window { from: end / 5, to: end }, &log)
    );
    let used = CpuTime::now().since(before);
    server.stop().await;
    let answered =
        Counts::within(&log.take(), Window { from: Duration::ZERO, to: Duration::MAX }).answered;
    if cpu::CLOCKS {
        let service = used.server / answered.max(1);
        Ok((share / service.as_secs_f64().max(f64::EPSILON), service))
    } else {
        Ok((f64::from(answered) / end.as_secs_f64(), Duration::ZERO))
    }
}

/// Share of a CPU that the server used within a window.
async fn share(window: Window, log: &Log) -> f64 {
    sleep_until(log.start + window.from).await;
    let (start, before) = (Instant::now(), CpuTime::now());
    sleep_until(log.start + window.to).await;
    CpuTime::now().since(before).server.as_secs_f64() / start.elapsed().as_secs_f64()
}

/// CPU time of the server per rejection, on a few connections kept alive, while the limiter is held full.
async fn refusal(bench: &Bench, handler: Handler) -> io::Result<Duration> {
    let server = bench.serve(|| room_for_one(bench.router(handler))).await?;
    let log = Bench::log();
    let client = once(bench, &server, PATIENT, &log);
    let holder = Client { target: target(server.address, "/hold"), ..client.clone() };
    let holding = tokio::spawn(holder.ask());
    let held = Duration::from_millis(50);
    sleep(held).await;
    let warm = held + bench.timing.refusal / 4;
    send_closed_loop(&client, 4, warm, &log).await;
    let warming = log.take();
    let before = CpuTime::now();
    send_closed_loop(&client, 4, warm + bench.timing.refusal, &log).await;
    let used = CpuTime::now().since(before);
    holding.abort();
    server.stop().await;
    let refused = |events: &[_]| {
        Counts::within(events, Window { from: Duration::ZERO, to: Duration::MAX }).refused
    };
    if refused(&warming) == 0 {
        return Err(io::Error::other("a gate that is held full refuses nothing"));
    }
    Ok(used.server / refused(&log.take()).max(1))
}

/// Candidates for tower's limit, over the useful concurrency (capacity × uncontended latency).
const FACTORS: [f64; 5] = [0.7, 1.0, 1.5, 2.0, 4.0];

/// The limit with the most goodput at twice the capacity; among those within 2 % of it, the one with the lowest
/// p99.
async fn best_limit(
    bench: &Bench,
    handler: Handler,
    capacity: f64,
    useful: f64,
    seed: u64,
) -> io::Result<usize> {
    let mut limits: Vec<usize> =
        FACTORS.iter().map(|factor| (useful * factor).ceil().max(1.0) as usize).collect();
    limits.dedup();
    let mut tried = Vec::new();
    for limit in limits {
        let (goodput, p99) = try_limit(bench, handler, limit, 2.0 * capacity, seed).await?;
        tried.push((limit, goodput, p99));
    }
    Ok(pick(&tried))
}

fn pick(tried: &[(usize, f64, Duration)]) -> usize {
    let most = tried.iter().map(|(_, goodput, _)| *goodput).fold(0.0, f64::max);
    let good = tried.iter().filter(|(_, goodput, _)| *goodput >= 0.98 * most);
    good.min_by_key(|(_, _, p99)| *p99).expect("the best is within 2 % of itself").0
}

async fn try_limit(
    bench: &Bench,
    handler: Handler,
    limit: usize,
    rate: f64,
    seed: u64,
) -> io::Result<(f64, Duration)> {
    let end = bench.timing.candidate;
    let server = bench.serve(|| Stack::Tower.wrap(bench.router(handler), limit)).await?;
    let log = Bench::log();
    let arrivals = poisson(seed, &[Step { rate, lasts: end }]);
    send_open_loop(&once(bench, &server, bench.timing.deadline, &log), &arrivals, end, &log)
        .await?;
    let events = log.take();
    server.stop().await;
    let window = Window { from: end / 3, to: end };
    let answered = latencies(&events, window);
    Ok((
        answered.len() as f64 / window.seconds(),
        percentile(&answered, 0.99).unwrap_or(Duration::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_limit_has_the_lowest_p99_of_those_that_lose_no_goodput() {
        let ms = Duration::from_millis;
        let tried =
            [(8, 180.0, ms(50)), (16, 249.0, ms(80)), (24, 250.0, ms(110)), (64, 251.0, ms(260))];
        assert_eq!(pick(&tried), 16);
    }

    #[test]
    fn a_limit_is_picked_even_if_none_has_goodput() {
        assert_eq!(pick(&[(1, 0.0, Duration::MAX), (2, 0.0, Duration::MAX)]), 1);
    }
}
