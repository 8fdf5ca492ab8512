//! Runs independent jobs on all cores. The results do not depend on the number of cores.

use indicatif::{ProgressBar, ProgressStyle};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The results in the order of the jobs. A progress bar named `name` is shown.
pub(crate) fn each<J: Sync, R: Send>(
    name: &'static str,
    jobs: &[J],
    work: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let bar = bar(name, jobs.len());
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut found = Vec::new();
        while let Some((at, job)) = take(&next, jobs) {
            found.push((at, work(job)));
            bar.inc(1);
        }
        found
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut found: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let found = workers.into_iter().map(|worker| worker.join().expect("a job panicked"));
        found.flatten().collect()
    });
    bar.finish_and_clear();
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, J>(next: &AtomicUsize, jobs: &'a [J]) -> Option<(usize, &'a J)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, jobs.get(at)?))
}

fn bar(name: &'static str, jobs: usize) -> ProgressBar {
    let style = "{prefix} {bar:40.cyan/blue} {pos}/{len} {elapsed} so far, {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is fixed");
    let bar = ProgressBar::new(jobs as u64).with_style(style.progress_chars("━╸─"));
    bar.with_prefix(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..1_000).collect();
        let squares = each("squares", &jobs, |job| job * job);
        assert!(squares.iter().zip(&jobs).all(|(square, job)| *square == job * job));
    }
}
