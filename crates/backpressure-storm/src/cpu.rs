//! CPU clocks, and a CPU for each side of the storm.
//!
//! The storm is one process with two busy threads: the only worker of the server, and the thread that generates
//! the load. CPU time of the process without that of the second thread is the server's.

use std::time::Duration;

/// Whether this system has CPU clocks. Without them a rejection counts as free.
pub(crate) const CLOCKS: bool = cfg!(unix);

/// CPU time used up to a moment, or between two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    /// By the thread that generates the load.
    pub(crate) generator: Duration,
    /// By everything else in this process, which is the server.
    pub(crate) server: Duration,
}

impl CpuTime {
    /// Reads the clocks. To be called on the thread that generates the load.
    pub(crate) fn now() -> Self {
        let generator = thread_clock();
        Self { generator, server: process_clock().saturating_sub(generator) }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            generator: self.generator.saturating_sub(earlier.generator),
            server: self.server.saturating_sub(earlier.server),
        }
    }
}

/// The two sides of the storm. Each has a CPU of its own if there are two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Server,
    Generator,
}

impl Side {
    /// Index among the `available` CPUs. With four or more it is 2 and not 1: neighbours are often siblings of
    /// one core.
    fn place(self, available: usize) -> usize {
        match (self, available) {
            (Self::Server, _) | (Self::Generator, 0 | 1) => 0,
            (Self::Generator, 2 | 3) => 1,
            (Self::Generator, _) => 2,
        }
    }
}

#[cfg(unix)]
pub(crate) fn thread_clock() -> Duration {
    read(rustix::time::ClockId::ThreadCPUTime)
}

#[cfg(unix)]
fn process_clock() -> Duration {
    read(rustix::time::ClockId::ProcessCPUTime)
}

#[cfg(unix)]
fn read(clock: rustix::time::ClockId) -> Duration {
    Duration::try_from(rustix::time::clock_gettime(clock)).expect("a CPU clock starts at zero")
}

#[cfg(not(unix))]
pub(crate) fn thread_clock() -> Duration {
    Duration::ZERO
}

#[cfg(not(unix))]
fn process_clock() -> Duration {
    Duration::ZERO
}

/// Moves the calling thread to the CPU of its side. If that is not possible, the storm runs anyway, with more
/// noise.
#[cfg(target_os = "linux")]
pub(crate) fn pin(side: Side, allowed: &AllowedCpus) {
    let Some(&cpu) = allowed.0.get(side.place(allowed.0.len())) else {
        return;
    };
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _unpinned_is_fine = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_: Side, _: &AllowedCpus) {}

/// The CPUs that this process may run on.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedCpus(Vec<usize>);

impl AllowedCpus {
    #[cfg(target_os = "linux")]
    pub(crate) fn read() -> Self {
        let set = rustix::thread::sched_getaffinity(None);
        Self(set.map_or_else(
            |_| Vec::new(),
            |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
        ))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read() -> Self {
        Self::default()
    }

    /// Those that the two sides run on.
    pub(crate) fn of_both_sides(&self) -> Vec<usize> {
        let of = |side: Side| self.0.get(side.place(self.0.len())).copied();
        [Side::Server, Side::Generator].into_iter().filter_map(of).collect()
    }

    /// Whether each side has a CPU of its own.
    pub(crate) fn apart(&self) -> bool {
        self.0.len() > 1
    }
}

/// Raises the limit on open files and returns how many connections it allows. Both ends of each are in this
/// process.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    // Far above what the storm opens, and below what some systems reject as a soft limit.
    limit.current = Some(limit.maximum.map_or(10_240, |hard| hard.min(10_240))).max(before);
    let files = if setrlimit(Resource::Nofile, limit).is_ok() { limit.current } else { before };
    files.map_or(usize::MAX, |files| (files.saturating_sub(100) / 2) as usize)
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_share_a_cpu_only_when_there_is_one() {
        assert_eq!(Side::Generator.place(1), Side::Server.place(1));
        for cpus in 2..16 {
            assert_ne!(Side::Generator.place(cpus), Side::Server.place(cpus));
        }
    }
}
