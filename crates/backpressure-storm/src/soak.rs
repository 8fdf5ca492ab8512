//! The soak: minutes of overload by clients of all sorts, after which nothing may be left over.

use crate::Outcome;
use crate::bench::Bench;
use crate::pool::Pool;
use crate::server::Server;
use crate::timing::Timing;
use clap::Args;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower_backpressure::{AdmissionLayer, Handle};

mod clients;
mod load;
mod memory;
mod page;
mod raw;
mod service;
mod tally;

use self::load::Load;
use self::memory::Memory;
use self::tally::Tally;

/// Options of `storm soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakOptions {
    /// How long the overload lasts
    #[arg(long, default_value_t = 10.0, value_parser = parse_minutes, value_name = "NUMBER")]
    pub(crate) minutes: f64,
    /// Where the report goes
    #[arg(long, default_value = "target/storm/soak.md", value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// What a soak has shown.
#[derive(Debug)]
struct Soak {
    lasted: Duration,
    /// Requests a second that the service can do.
    capacity: f64,
    tally: Tally,
    memory: Memory,
    /// Requests in flight, in the queue and apart at the end.
    left: (usize, usize, usize),
    /// Load averages of the machine at the start and the end; of one minute, in text.
    machine: (String, String),
}

/// Offered load over capacity.
const LOAD: f64 = 5.0;
/// How long requests may take to end after the last client has left: longer than a stalled upload is read.
const SETTLE: Duration = Duration::from_secs(20);

/// A second, below which no client has done much, up to a day.
const MINUTES: RangeInclusive<f64> = 0.02..=1_440.0;

fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes, such as 0.5".to_owned())?;
    if MINUTES.contains(&minutes) {
        Ok(minutes)
    } else {
        Err("a soak takes from 0.02 minutes to 1440".to_owned())
    }
}

/// Runs the soak, writes its page, and says whether it passed.
pub(crate) fn run(options: &SoakOptions) -> Outcome<bool> {
    let lasts = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let bench = Bench::set_up(Timing::of(false));
    let soak = crate::runtime()?.block_on(soak(&bench, lasts))?;
    let page = page::render(&soak, options.minutes);
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.out, &page)?;
    print!("{page}");
    Ok(soak.faults().is_empty())
}

async fn soak(bench: &Bench, lasts: Duration) -> Outcome<Soak> {
    let admission = AdmissionLayer::adaptive("soak");
    let handle = admission.handle().clone();
    let server = bench.serve(|| service::router(&bench.work, admission)).await?;
    let machine = memory::load_average();
    let pool = Pool::new(server.address, bench.connections);
    let capacity = clients::capacity(&pool).await;
    let load =
        Load { address: server.address, pool, rate: capacity * LOAD, tally: Tally::default() };
    let started = Instant::now();
    let clients = clients::start(&load);
    let memory = Memory::watch(&handle, lasts).await;
    drop(clients);
    settle(&handle).await;
    let now = handle.snapshot();
    let tally = load.tally;
    Server::stop(server).await;
    Ok(Soak {
        lasted: started.elapsed(),
        capacity,
        tally,
        memory,
        left: (now.in_flight, now.queued, now.apart),
        machine: (machine, memory::load_average()),
    })
}

async fn settle(handle: &Handle) {
    let deadline = Instant::now() + SETTLE;
    while handle.snapshot().in_flight > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
}

impl Soak {
    /// What should not have happened.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.tally.faults();
        if self.left != (0, 0, 0) {
            faults.push(format!("left in flight, in the queue and apart: {:?}", self.left));
        }
        faults.extend(self.memory.fault());
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seconds_of_a_soak_leave_nothing_behind() {
        let bench = Bench::set_up(Timing::of(true));
        let runtime = crate::runtime().expect("a runtime");
        let soak = runtime.block_on(soak(&bench, Duration::from_secs(4))).expect("a soak");
        assert_eq!(soak.faults(), Vec::<String>::new());
        assert!(soak.tally.rejected() > 0 && soak.tally.served() > 0, "{:?}", soak.tally);
        assert!(page::render(&soak, 0.1).contains("| plain |"));
    }
}
