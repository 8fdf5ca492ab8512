//! One run: a new server behind its stack, the load, and the score.

use crate::arrivals::poisson;
use crate::bench::Bench;
use crate::calibrate::Calibration;
use crate::client::{Client, target};
use crate::cpu::CpuTime;
use crate::event_log::{Counts, Log, Window, timeline};
use crate::generator::send_open_loop;
use crate::handler::Work;
use crate::plan::{Entry, SLOWER, Scenario};
use crate::score::{Run, recovery};
use crate::server::Server;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

/// The figures of a run, and what only the page shows.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) entry: Entry,
    pub(crate) run: Run,
    pub(crate) timeline: Vec<Counts>,
    pub(crate) slow: Option<Window>,
    /// Shares of one CPU.
    pub(crate) generator_cpu: f64,
    pub(crate) server_cpu: f64,
    /// How late the generator itself sent what was due, 99th percentile.
    pub(crate) lag: Duration,
}

/// Deadline of a whole request over that of one attempt, for clients with the retry layer.
const PATIENCE: u32 = 10;

/// Makes the run, and repeats it once if the generator itself stalled: such a run says nothing about the
/// server.
pub(crate) async fn run(
    bench: &Bench,
    entry: Entry,
    calibration: &Calibration,
    seed: u64,
) -> io::Result<Trial> {
    let trial = make(bench, entry, calibration, seed).await?;
    if trial.lag < bench.timing.deadline / 4 {
        return Ok(trial);
    }
    make(bench, entry, calibration, seed).await
}

async fn make(
    bench: &Bench,
    entry: Entry,
    calibration: &Calibration,
    seed: u64,
) -> io::Result<Trial> {
    let Entry { scenario, stack, handler } = entry;
    let (timing, end, slow) =
        (&bench.timing, bench.timing.end(scenario), bench.timing.slow(scenario));
    let limit = calibration.tower_limit.unwrap_or(usize::MAX >> 4);
    let server = bench.serve(|| stack.wrap(bench.router(handler), limit)).await?;
    let log = Bench::log();
    let client = client(bench, entry, &server, &log);
    let arrivals = poisson(seed, &timing.steps(scenario, calibration.capacity));

    let before = CpuTime::now();
    let slowing = slow.map(|slow| SlowDown::schedule(&bench.work, &log, slow));
    let lag = send_open_loop(&client, &arrivals, end, &log).await?;
    let used = CpuTime::now().since(before);
    let events = log.take();
    drop((slowing, client));
    server.stop().await;

    let timeline = timeline(&events, timing.bucket, end);
    let mut run =
        Run::of(entry, calibration, timing.deadline, &events, timing.measured(scenario), slow);
    run.recovered_s = slow
        .and_then(|slow| recovery(&timeline[bucket_of(slow.to, timing.bucket)..], timing.bucket));
    let share = |used: Duration| used.as_secs_f64() / end.as_secs_f64();
    let (generator_cpu, server_cpu) = (share(used.generator), share(used.server));
    Ok(Trial { entry, run, timeline, slow, generator_cpu, server_cpu, lag })
}

fn client(bench: &Bench, entry: Entry, server: &Server, log: &Arc<Log>) -> Client {
    let deadline = bench.timing.deadline;
    let attempts = bench.attempts(server, deadline, log);
    let retries = match entry.scenario {
        Scenario::BrownOut => entry.stack.impatient(attempts, deadline * PATIENCE),
        _ => entry.stack.patient(attempts, deadline),
    };
    Client { target: target(server.address, "/work"), retries }
}

fn bucket_of(at: Duration, bucket: Duration) -> usize {
    (at.as_nanos() / bucket.as_nanos()) as usize
}

/// The brown-out. Work is back to normal when this is dropped.
#[derive(Debug)]
struct SlowDown {
    work: Arc<Work>,
    task: JoinHandle<()>,
}

impl SlowDown {
    fn schedule(work: &Arc<Work>, log: &Arc<Log>, slow: Window) -> Self {
        let (start, slowed) = (log.start, Arc::clone(work));
        let task = tokio::spawn(async move {
            sleep_until(start + slow.from).await;
            slowed.slow_down(SLOWER);
            sleep_until(start + slow.to).await;
            slowed.slow_down(1);
        });
        Self { work: Arc::clone(work), task }
    }
}

impl Drop for SlowDown {
    fn drop(&mut self) {
        self.task.abort();
        self.work.slow_down(1);
    }
}
