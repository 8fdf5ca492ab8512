//! Memory of the process, and the state of the limiter, over time.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tower_backpressure::{Handle, Snapshot};

/// Samples over time, of the same distance.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// Resident memory of the process, which the clients are part of; `None` where the system does not tell.
    pub(super) resident_kb: Option<u64>,
    pub(super) state: Snapshot,
}

const SAMPLES: u32 = 100;
/// Growth from the second fifth of the time to the last that still is flat. The allocator keeps what a burst of
/// connections took; a leak of 100 bytes a request would be ten times this in ten minutes.
const MAX_GROWTH_KB: u64 = 16 * 1024;

impl Memory {
    /// Takes samples for so long.
    pub(super) async fn watch(handle: &Handle, lasts: Duration) -> Self {
        let started = Instant::now();
        let mut samples = Vec::new();
        for turn in 1..=SAMPLES {
            sleep_until(started + lasts * turn / SAMPLES).await;
            let (at, state) = (started.elapsed(), handle.snapshot());
            samples.push(Sample { at, resident_kb: resident_kb(), state });
        }
        Self { samples }
    }

    /// Median resident memory in the second and in the last fifth of the time.
    pub(super) fn before_and_after(&self) -> Option<(u64, u64)> {
        let fifth = self.samples.len() / 5;
        let before = median(&self.samples[fifth..2 * fifth])?;
        Some((before, median(&self.samples[4 * fifth..])?))
    }

    pub(super) fn fault(&self) -> Option<String> {
        let (before, after) = self.before_and_after()?;
        let grown = after.saturating_sub(before);
        (grown > MAX_GROWTH_KB).then(|| format!("memory has grown by {grown} kB"))
    }
}

fn median(samples: &[Sample]) -> Option<u64> {
    let mut sizes: Vec<u64> = samples.iter().filter_map(|sample| sample.resident_kb).collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied()
}

fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// How busy the machine is: processes that run or want to, as a mean over a minute.
pub(super) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|text| !text.is_empty()).unwrap_or("unknown").to_owned()
}
