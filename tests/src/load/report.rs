//! How the requests of a run ended, second by second.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tower_backpressure::Snapshot;

/// Most rows of a printed timeline.
const MAX_TIMELINE_ROWS: usize = 40;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Served,
    Rejected,
    Failed,
    Late,
    Cancelled,
}

/// Requests of one class, counted by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent.
    pub offered: usize,
    /// Requests served in time.
    pub served: usize,
    /// Requests rejected by the layer.
    pub rejected: usize,
    /// Requests that failed in the handler.
    pub failed: usize,
    /// Requests served too late.
    pub late: usize,
    /// Requests cancelled by their caller.
    pub cancelled: usize,
}

#[derive(Clone, Debug, Default)]
struct Second {
    counts: Vec<Counts>,
    snapshot: Option<Snapshot>,
}

/// Counts requests as they are sent and end, second by second.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    start: Instant,
    names: Arc<[&'static str]>,
    seconds: Arc<Mutex<Vec<Second>>>,
}

/// How the requests of a run ended, and which expectations failed.
#[derive(Clone, Debug)]
pub struct Report {
    label: String,
    seed: u64,
    names: Arc<[&'static str]>,
    seconds: Vec<Second>,
    failed_expectations: Vec<String>,
}

impl Recorder {
    pub(crate) fn new(names: Arc<[&'static str]>, start: Instant) -> Self {
        Self { start, names, seconds: Arc::default() }
    }

    pub(crate) fn offered(&self, class: usize) {
        self.change(class, |counts| counts.offered += 1);
    }

    pub(crate) fn ended(&self, class: usize, outcome: RequestOutcome) {
        self.change(class, |counts| match outcome {
            RequestOutcome::Served => counts.served += 1,
            RequestOutcome::Rejected => counts.rejected += 1,
            RequestOutcome::Failed => counts.failed += 1,
            RequestOutcome::Late => counts.late += 1,
            RequestOutcome::Cancelled => counts.cancelled += 1,
        });
    }

    /// Keeps the limiter's snapshot for the second that has just ended.
    pub(crate) fn record_snapshot(&self, snapshot: Option<Snapshot>) {
        let second = self.second().saturating_sub(1);
        self.at(second, |second| second.snapshot = snapshot);
    }

    pub(crate) fn report(self, label: String, seed: u64) -> Report {
        let seconds = std::mem::take(&mut *self.lock());
        Report { label, seed, names: self.names, seconds, failed_expectations: Vec::new() }
    }

    fn change(&self, class: usize, change: impl FnOnce(&mut Counts)) {
        self.at(self.second(), |second| change(&mut second.counts[class]));
    }

    fn at(&self, index: usize, change: impl FnOnce(&mut Second)) {
        let mut seconds = self.lock();
        while seconds.len() <= index {
            let counts = vec![Counts::default(); self.names.len()];
            seconds.push(Second { counts, snapshot: None });
        }
        change(&mut seconds[index]);
    }

    fn second(&self) -> usize {
        usize::try_from(self.start.elapsed().as_secs())
            .expect("a run has fewer than u32::MAX seconds")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Second>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// All requests of a class.
    #[must_use]
    pub fn class(&self, name: &str) -> Counts {
        self.between(name, Duration::ZERO, Duration::MAX)
    }

    /// The requests of a class between two times, which are rounded to whole seconds.
    ///
    /// # Panics
    /// When there is no such class.
    #[must_use]
    pub fn between(&self, name: &str, from: Duration, until: Duration) -> Counts {
        let class =
            self.names.iter().position(|class| *class == name).expect("a class of the load");
        let seconds = (0..).map(Duration::from_secs).zip(&self.seconds);
        let within = seconds.filter(|(at, _)| (from..until).contains(at));
        within.fold(Counts::default(), |sum, (_, second)| sum.plus(second.counts[class]))
    }

    /// The lowest limit recorded after a time.
    #[must_use]
    pub fn lowest_limit(&self, from: Duration) -> Option<usize> {
        let snapshots = self.seconds.iter().skip(usize::try_from(from.as_secs()).ok()?);
        snapshots.filter_map(|second| second.snapshot).map(|snapshot| snapshot.limit).min()
    }

    /// Adds `expectation` to the failed ones unless `holds`.
    #[must_use]
    pub fn expect(mut self, holds: bool, expectation: impl fmt::Display) -> Self {
        if !holds {
            self.failed_expectations.push(expectation.to_string());
        }
        self
    }

    /// Expects that every request of the class is served in time, except those that the handler fails.
    #[must_use]
    pub fn expect_all_served(self, name: &str) -> Self {
        self.expect_all_served_after(name, Duration::ZERO)
    }

    /// Expects the same after a time. A request may arrive before `from` and end after it, so
    /// rejected, late and cancelled requests are counted instead of served ones.
    #[must_use]
    pub fn expect_all_served_after(self, name: &str, from: Duration) -> Self {
        let after = self.between(name, from, Duration::MAX);
        let (all, lost) = (self.class(name), after.rejected + after.late + after.cancelled);
        let lost = lost + all.offered.saturating_sub(all.ended());
        self.expect(lost == 0, format_args!("{name}: {lost} of {} not served", after.offered))
    }

    /// Expects that at least `min_rate` requests of the class a second are served between two times.
    #[must_use]
    pub fn expect_rate(self, name: &str, min_rate: f64, from: Duration, until: Duration) -> Self {
        let served = self.between(name, from, until).served as f64;
        let rate = served / (until - from).as_secs_f64();
        self.expect(
            rate >= min_rate,
            format_args!("{name}: {rate:.1} served a second, not {min_rate:.1}"),
        )
    }

    /// Adds figures to the label.
    pub(crate) fn relabel(mut self, figures: &str) -> Self {
        self.label = format!("{} ({figures})", self.label);
        self
    }

    fn timeline(&self) -> String {
        let step = self.seconds.len().div_ceil(MAX_TIMELINE_ROWS).max(1);
        let mut lines = vec![format!("{self}, every {step} s:")];
        for (index, seconds) in self.seconds.chunks(step).enumerate() {
            let state = seconds.last().and_then(|second| second.snapshot);
            let state = state.map_or_else(String::new, |state| {
                let (limit, in_flight) = (state.limit, state.in_flight);
                let overloaded = if state.overloaded { " overloaded" } else { "" };
                format!("limit {limit} in flight {in_flight} queued {}{overloaded}", state.queued)
            });
            let classes = self.names.iter().enumerate().map(|(class, name)| {
                let counts = seconds.iter().map(|second| second.counts[class]);
                format!("| {name} {} ", counts.fold(Counts::default(), Counts::plus))
            });
            lines.push(format!("{:>5} s {}{state}", index * step, classes.collect::<String>()));
        }
        lines.join("\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seed {}:", self.label, self.seed)?;
        for name in &*self.names {
            write!(f, " | {name} {}", self.class(name))?;
        }
        let last = self.seconds.iter().rev().find_map(|second| second.snapshot);
        last.map_or(Ok(()), |last| write!(f, " | limit {}", last.limit))?;
        f.write_str(if self.failed_expectations.is_empty() { "" } else { " | FAILED" })
    }
}

impl Counts {
    const fn ended(self) -> usize {
        self.served + self.rejected + self.failed + self.late + self.cancelled
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            served: self.served + other.served,
            rejected: self.rejected + other.rejected,
            failed: self.failed + other.failed,
            late: self.late + other.late,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.served, self.offered)?;
        let others = [
            ("rejected", self.rejected),
            ("failed", self.failed),
            ("late", self.late),
            ("cancelled", self.cancelled),
        ];
        others
            .iter()
            .filter(|(_, count)| *count > 0)
            .try_for_each(|(name, count)| write!(f, " {name} {count}"))
    }
}

/// Prints a line for each run.
///
/// # Panics
/// When an expectation failed; the timeline of the first such run is printed.
pub fn verify(reports: impl IntoIterator<Item = Report>) {
    let mut failed = Vec::new();
    for report in reports {
        println!("{report}");
        if !report.failed_expectations.is_empty() {
            failed.push(report);
        }
    }
    if let Some(first) = failed.first() {
        println!("{}", first.timeline());
    }
    let messages: Vec<_> = failed
        .iter()
        .map(|report| {
            format!(
                "{} seed {}: {}",
                report.label,
                report.seed,
                report.failed_expectations.join("; ")
            )
        })
        .collect();
    assert!(messages.is_empty(), "{}", messages.join("\n"));
}
