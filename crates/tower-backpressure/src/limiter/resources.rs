//! Resources that a limit does not see by itself: the runtime, the CPU quota and the memory of the control group.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Limiter;

mod ceiling;
mod cgroup;

use self::ceiling::Ceiling;
pub(super) use self::cgroup::Cgroup;
use self::cgroup::Throttling;

/// Watches resources, and lowers a limit while one of them is short.
///
/// A limit learns from its requests. It does not see work that handlers spawn elsewhere, nor that the memory of a
/// container is nearly used up. Each signal is off until it is asked for:
///
/// | signal | is short when |
/// |---|---|
/// | [`runtime_lag`](Self::runtime_lag) | a timer of the runtime fires later than that |
/// | [`cpu_throttling`](Self::cpu_throttling) | half of the periods of the CPU quota are throttled |
/// | [`memory`](Self::memory) | the working set is above this share of `memory.max`, and tasks stall for memory |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use tower_backpressure::{AdmissionLayer, ResourceWatch};
///
/// let layer = AdmissionLayer::adaptive("api");
/// let watch = ResourceWatch::new().runtime_lag(Duration::from_millis(100)).memory(0.9);
/// // For as long as this is kept.
/// let watching = watch.start(layer.handle().limiter());
/// # drop(watching);
/// # }
/// ```
///
/// # What it does
///
/// It looks four times a second. When a resource was short three times in a row, the limit gets a ceiling below where
/// it stands, which falls by an eighth each time, down to a quarter of where it stood. When the resource is not short
/// any more, the ceiling rises by an eighth each time, and ends. A bound that an operator sets as a minimum stays.
///
/// If the resource is still short after a minute at the lowest ceiling, then fewer requests do not help: memory that
/// leaks, for example. The ceiling ends, and none is set until the resource was not short for a minute. A pause of the
/// whole process, as of a suspended machine, is one late timer, and no shortage.
///
/// Files of control groups of version 2 and 1 are read, and those of the groups around that of the process. One that is
/// absent, or is not understood, is no signal.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is watched before `start`"]
pub struct ResourceWatch {
    max_lag: Option<Duration>,
    watches_cpu: bool,
    max_memory_share: Option<f64>,
    cgroup: Option<PathBuf>,
}

/// A watch that goes on until this is dropped, which also ends its ceiling: see [`ResourceWatch::start`].
#[must_use = "the watch ends when this is dropped"]
pub struct Watching {
    task: JoinHandle<()>,
    limiter: Limiter,
}

/// How often resources are looked at. A CPU quota has ten periods a second at most.
const INTERVAL: Duration = Duration::from_millis(250);
/// From this share of throttled periods on the CPU quota is short: below, single bursts exceed it.
const MAX_THROTTLED_SHARE: f64 = 0.5;
/// From this share of time in which tasks stall for memory on, a large working set is a shortage. The kernel reclaims
/// caches long before tasks stall for it.
const MIN_STALL_SHARE: f64 = 0.01;

impl ResourceWatch {
    /// Watches nothing.
    pub const fn new() -> Self {
        Self { max_lag: None, watches_cpu: false, max_memory_share: None, cgroup: None }
    }

    /// The runtime is short of workers when a timer fires later than this: some 100 ms. It sees work that handlers
    /// spawn, and handlers outside of the layer.
    pub const fn runtime_lag(mut self, max: Duration) -> Self {
        self.max_lag = Some(max);
        self
    }

    /// The CPU is short when half of the periods of the quota are throttled.
    pub const fn cpu_throttling(mut self) -> Self {
        self.watches_cpu = true;
        self
    }

    /// Memory is short when the working set (without file caches that are not in use) is above this share of
    /// `memory.max`, and tasks stall for memory for a hundredth of the time, where the kernel tells that.
    ///
    /// # Panics
    /// When `max_share` is not in 0.1..=1.0.
    pub fn memory(mut self, max_share: f64) -> Self {
        assert!((0.1..=1.0).contains(&max_share), "max_share must be in 0.1..=1.0: {max_share}");
        self.max_memory_share = Some(max_share);
        self
    }

    /// The folder with the files of the control group; that of this process by default.
    pub fn cgroup(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(folder.into());
        self
    }

    /// Watches on behalf of this limiter, on a task of the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self, limiter: &Limiter) -> Watching {
        let limiter = limiter.clone();
        Watching { task: tokio::spawn(watch(self, limiter.clone())), limiter }
    }
}

async fn watch(options: ResourceWatch, limiter: Limiter) {
    let mut look = Look::new(options);
    let mut ceiling = Ceiling::default();
    loop {
        let before = Instant::now();
        sleep(INTERVAL).await;
        let lag = before.elapsed().saturating_sub(INTERVAL);
        let next = ceiling.looked(look.is_short(lag), limiter.snapshot().limit, Instant::now());
        limiter.set_ceiling(next);
    }
}

/// What is looked at.
struct Look {
    options: ResourceWatch,
    cgroup: Cgroup,
    /// As of the last time.
    throttling: Option<Throttling>,
}

impl Look {
    fn new(options: ResourceWatch) -> Self {
        let cgroup = options.cgroup.clone().map_or_else(Cgroup::of_this_process, Cgroup::at);
        Self { options, cgroup, throttling: None }
    }

    /// Whether a resource is short; `lag` is that of the timer.
    fn is_short(&mut self, lag: Duration) -> bool {
        let is_late = self.options.max_lag.is_some_and(|max| lag > max);
        let is_throttled = self.options.watches_cpu && self.is_throttled();
        let memory = self.options.max_memory_share;
        is_late || is_throttled || memory.is_some_and(|max| self.is_memory_short(max))
    }

    fn is_throttled(&mut self) -> bool {
        let now = self.cgroup.throttling();
        let before = std::mem::replace(&mut self.throttling, now);
        let share = before.zip(now).and_then(|(before, now)| now.share_since(before));
        share.is_some_and(|share| share >= MAX_THROTTLED_SHARE)
    }

    fn is_memory_short(&self, max_share: f64) -> bool {
        let stalls = self.cgroup.memory_stalls();
        stalls.is_none_or(|share| share >= MIN_STALL_SHARE)
            && self.cgroup.memory_share().is_some_and(|share| share > max_share)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
        self.limiter.set_ceiling(None);
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}
