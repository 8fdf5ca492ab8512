//! Who burns which CPU: clocks, and places for the two sides of the storm.
//!
//! The storm is one process of two threads that matter: the server's only worker, and the thread that makes the load and
//! conducts. What the process burnt and that second thread did not, the server did.

use std::time::Duration;

/// Whether this system has the clocks. Without them a refusal counts as free, and the ceiling is the load up to the capacity.
pub(crate) const CLOCKS: bool = cfg!(unix);

/// CPU time burnt up to some moment, or between two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Burnt {
    /// By the thread that makes the load.
    pub(crate) generator: Duration,
    /// By everything else in this process, which is the server.
    pub(crate) server: Duration,
}

impl Burnt {
    /// Reads the clocks. To be called on the thread that makes the load.
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

/// The two sides, each of which gets a CPU of its own where there are two to give.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Server,
    Generator,
}

impl Side {
    /// Which of `available` CPUs. Number two rather than one where there are four: neighbours are often one core's siblings.
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

/// Moves the calling thread to the CPU of its side. Where that is not possible the storm runs all the same, only noisier.
#[cfg(target_os = "linux")]
pub(crate) fn pin(side: Side, allowed: &Allowed) {
    let Some(&cpu) = allowed.0.get(side.place(allowed.0.len())) else {
        return;
    };
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _unpinned_is_fine = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_: Side, _: &Allowed) {}

/// The CPUs this process may run on, as it found them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed(Vec<usize>);

impl Allowed {
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

    /// Whether each side has a CPU of its own.
    pub(crate) fn apart(&self) -> bool {
        self.0.len() > 1
    }
}

/// Raises the number of open files as far as it goes and says how many connections that allows, both of whose ends are here.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    // Far above what the storm opens, and below what some systems refuse as a soft limit.
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
