//! What became of the requests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tower_backpressure::Snapshot;

/// Rows of a timeline that is printed.
const MOST_ROWS: usize = 40;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    Refused,
    Failed,
    Late,
    Left,
}

/// Requests of one class, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub offered: usize,
    /// Answered in time.
    pub served: usize,
    /// Refused by the layer.
    pub refused: usize,
    /// Failed in the handler.
    pub failed: usize,
    /// Answered too late.
    pub late: usize,
    /// Left by the caller.
    pub left: usize,
}

#[derive(Clone, Debug, Default)]
struct Second {
    counts: Vec<Counts>,
    snapshot: Option<Snapshot>,
}

/// Writes down what happens, second by second.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    start: Instant,
    names: Arc<[&'static str]>,
    seconds: Arc<Mutex<Vec<Second>>>,
}

/// What became of the requests of a run, and the promises it broke.
#[derive(Clone, Debug)]
pub struct Report {
    label: String,
    seed: u64,
    names: Arc<[&'static str]>,
    seconds: Vec<Second>,
    broken: Vec<String>,
}

impl Journal {
    pub(crate) fn new(names: Arc<[&'static str]>, start: Instant) -> Self {
        Self { start, names, seconds: Arc::default() }
    }

    pub(crate) fn offered(&self, class: usize) {
        self.change(class, |counts| counts.offered += 1);
    }

    pub(crate) fn ended(&self, class: usize, fate: Fate) {
        self.change(class, |counts| match fate {
            Fate::Served => counts.served += 1,
            Fate::Refused => counts.refused += 1,
            Fate::Failed => counts.failed += 1,
            Fate::Late => counts.late += 1,
            Fate::Left => counts.left += 1,
        });
    }

    /// Keeps the state of the limiter at the end of the second that has just passed.
    pub(crate) fn look(&self, snapshot: Option<Snapshot>) {
        let second = self.second().saturating_sub(1);
        self.at(second, |second| second.snapshot = snapshot);
    }

    pub(crate) fn report(self, label: String, seed: u64) -> Report {
        let seconds = std::mem::take(&mut *self.lock());
        Report { label, seed, names: self.names, seconds, broken: Vec::new() }
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
        usize::try_from(self.start.elapsed().as_secs()).expect("a short run")
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

    /// What happened to a class between two times, in whole seconds.
    ///
    /// # Panics
    /// When there is no such class.
    #[must_use]
    pub fn between(&self, name: &str, from: Duration, until: Duration) -> Counts {
        let class = self.names.iter().position(|known| *known == name).expect("a class");
        let seconds = (0..).map(Duration::from_secs).zip(&self.seconds);
        let within = seconds.filter(|(at, _)| (from..until).contains(at));
        within.fold(Counts::default(), |sum, (_, second)| sum.plus(second.counts[class]))
    }

    /// The lowest limit that was seen after a time.
    #[must_use]
    pub fn lowest_limit(&self, from: Duration) -> Option<usize> {
        let seen = self.seconds.iter().skip(usize::try_from(from.as_secs()).ok()?);
        seen.filter_map(|second| second.snapshot).map(|snapshot| snapshot.limit).min()
    }

    /// A promise that has to hold.
    #[must_use]
    pub fn expect(mut self, holds: bool, promise: impl fmt::Display) -> Self {
        if !holds {
            self.broken.push(promise.to_string());
        }
        self
    }

    /// Every request of the class that the handler did not fail has to be served in time.
    #[must_use]
    pub fn expect_all_served(self, name: &str) -> Self {
        self.expect_all_served_after(name, Duration::ZERO)
    }

    /// The same for what happens after a time. A second is too short to tell: a request may arrive
    /// in one and be answered in the next, so refusals, late answers and leavers are counted.
    #[must_use]
    pub fn expect_all_served_after(self, name: &str, from: Duration) -> Self {
        let late = self.between(name, from, Duration::MAX);
        let (all, lost) = (self.class(name), late.refused + late.late + late.left);
        let lost = lost + all.offered.saturating_sub(all.ended());
        self.expect(lost == 0, format_args!("{name}: {lost} of {} not served", late.offered))
    }

    /// At least so many requests of the class have to be served a second between two times.
    #[must_use]
    pub fn expect_rate(self, name: &str, least: f64, from: Duration, until: Duration) -> Self {
        let served = self.between(name, from, until).served as f64;
        let rate = served / (until - from).as_secs_f64();
        self.expect(
            rate >= least,
            format_args!("{name}: {rate:.1} served a second, not {least:.1}"),
        )
    }

    fn timeline(&self) -> String {
        let step = self.seconds.len().div_ceil(MOST_ROWS).max(1);
        let mut lines = vec![format!("{self}, every {step} s:")];
        for (index, seconds) in self.seconds.chunks(step).enumerate() {
            let state = seconds.last().and_then(|second| second.snapshot);
            let state = state.map_or_else(String::new, |state| {
                let (limit, held) = (state.limit, state.in_flight);
                let overloaded = if state.overloaded { " overloaded" } else { "" };
                format!("limit {limit} in flight {held} queued {}{overloaded}", state.queued)
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
        let broken = if self.broken.is_empty() { "" } else { " | BROKEN" };
        f.write_str(broken)
    }
}

impl Counts {
    const fn ended(self) -> usize {
        self.served + self.refused + self.failed + self.late + self.left
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            served: self.served + other.served,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
            late: self.late + other.late,
            left: self.left + other.left,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.served, self.offered)?;
        let others = [
            ("refused", self.refused),
            ("failed", self.failed),
            ("late", self.late),
            ("left", self.left),
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
/// When a promise is broken: with the course of the first run that broke one.
pub fn verify(reports: impl IntoIterator<Item = Report>) {
    let mut broken = Vec::new();
    for report in reports {
        println!("{report}");
        if !report.broken.is_empty() {
            broken.push(report);
        }
    }
    if let Some(first) = broken.first() {
        println!("{}", first.timeline());
    }
    let broken: Vec<_> = broken
        .iter()
        .map(|report| {
            format!("{} seed {}: {}", report.label, report.seed, report.broken.join("; "))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
