//! How many workers handlers that never await have.

use std::thread::available_parallelism;

use tokio::runtime::Handle;

use super::resources::Cgroup;

/// The worker threads of the current runtime, or what is available outside of one; no more than the CPU quota of the
/// control group keeps busy. Eight threads with a quota of two CPUs do the work of two.
pub(crate) fn workers() -> usize {
    let threads = Handle::try_current().map(|runtime| runtime.metrics().num_workers());
    let threads = threads.unwrap_or_else(|_| available_parallelism().map_or(1, usize::from));
    within_quota(threads, Cgroup::of_this_process().cpu_quota()).clamp(1, MAX_WORKERS)
}

/// More than any machine has.
const MAX_WORKERS: usize = 4_096;

fn within_quota(threads: usize, quota: Option<f64>) -> usize {
    quota.map_or(threads, |cpus| threads.min(cpus.ceil().max(1.0) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_counts_where_there_are_more_threads() {
        for (threads, quota, workers) in [
            (8, None, 8),
            (8, Some(2.0), 2),
            (8, Some(1.5), 2),
            (8, Some(0.1), 1),
            (2, Some(16.0), 2),
            (8, Some(f64::NAN), 1),
        ] {
            assert_eq!(within_quota(threads, quota), workers, "{threads} threads, {quota:?} CPUs");
        }
    }
}
