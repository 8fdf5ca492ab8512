//! What one layer has done, counted while the registry is watched.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use tokio::time::Instant;

use super::distribution::{Distribution, Histogram};
use super::nesting::{Around, around};
use super::registry::{is_watched, next_id};
use super::report::{Report, Requests};
use crate::headers::shed_reason::index_of;

/// The counts of one layer. Each method but [`fill`](Self::fill) does nothing unless the registry is watched.
#[derive(Debug)]
pub(crate) struct Stats {
    id: u64,
    around: Around,
    admitted: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
    would_reject: AtomicU64,
    exempt: AtomicU64,
    cancelled: AtomicU64,
    /// One admitted request in this many is timed; a power of two.
    timed_one_in: AtomicU32,
    /// Made when the first time is recorded: a layer that is not watched needs none.
    times: OnceLock<Box<Times>>,
    /// When a report was last made, and how many requests had been admitted.
    last_report: Mutex<(Instant, u64)>,
}

#[derive(Debug)]
struct Times {
    response: Histogram,
    wait: Histogram,
    retry_after: Histogram,
}

/// A request whose time to the head of the response is measured.
#[derive(Debug)]
pub(super) struct Timing {
    since: Instant,
    weight: u32,
    stats: Arc<Stats>,
}

/// Requests of a layer that are timed in a second, about: enough for a p99 each second, and at 100 ns each 0.01 %
/// of a core.
const TIMED_PER_SECOND: f64 = 1_000.0;
/// At a hundred million requests a second that is still a thousand.
const MOST_TIMED_ONE_IN: u32 = 1 << 17;

thread_local! {
    static TURN: Cell<u32> = const { Cell::new(0) };
}

impl Stats {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: next_id(),
            around: Around::default(),
            admitted: AtomicU64::new(0),
            rejected: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            would_reject: AtomicU64::new(0),
            exempt: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            timed_one_in: AtomicU32::new(1),
            times: OnceLock::new(),
            last_report: Mutex::new((Instant::now(), 0)),
        })
    }

    #[inline(always)]
    pub(crate) fn admitted(&self) {
        if is_watched() {
            self.count_admitted();
        }
    }

    #[cold]
    fn count_admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// A client has sent a request.
    #[cfg(feature = "client")]
    pub(crate) fn sent(&self) {
        if is_watched() {
            self.count_admitted();
            self.note_around();
        }
    }

    /// Remembers the layer that is polled now as one around this.
    pub(super) fn note_around(&self) {
        self.around.note(self.id);
    }

    /// The number of the layer in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the request that was admitted last is timed.
    #[inline]
    pub(super) fn is_turn(&self) -> bool {
        let every = u64::from(self.timed_one_in.load(Ordering::Relaxed));
        self.admitted.load(Ordering::Relaxed) & (every - 1) == 0
    }

    /// Whether the request that was admitted last is followed: it is timed, or a layer further out follows it. So the
    /// innermost layer around another is known.
    #[inline(always)]
    pub(super) fn is_followed(&self) -> bool {
        is_watched() && (self.is_turn() || around() != 0)
    }

    /// How many requests this one stands for, of those that may be rejected; `None`: it is not its turn.
    pub(crate) fn turn(&self) -> Option<u32> {
        let every = self.timed_one_in.load(Ordering::Relaxed);
        let turn = TURN.try_with(|turn| turn.replace(turn.get().wrapping_add(1))).unwrap_or(1);
        (turn & (every - 1) == 0).then_some(every)
    }

    #[inline]
    pub(crate) fn rejected(&self, shed: Shed) {
        if is_watched() {
            self.note_around();
            self.rejected[index_of(shed.reason)].fetch_add(1, Ordering::Relaxed);
            self.times().retry_after.record(shed.retry_after, 1);
        }
    }

    pub(crate) fn would_reject(&self) {
        if is_watched() {
            self.would_reject.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn exempt(&self) {
        if is_watched() {
            self.exempt.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request left the queue without a decision.
    pub(super) fn cancelled(&self) {
        if is_watched() {
            self.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request has left the queue.
    pub(crate) fn waited(&self, wait: Duration) {
        if is_watched() {
            self.times().wait.record(wait, 1);
        }
    }

    fn times(&self) -> &Times {
        self.times.get_or_init(|| {
            let [response, wait, retry_after] = [(); 3].map(|()| Histogram::new());
            Box::new(Times { response, wait, retry_after })
        })
    }

    /// Writes the counts into a report, and chooses how many requests are timed from now on.
    pub(crate) fn fill(&self, report: &mut Report) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let rejected =
            Reason::ALL.iter().map(|&reason| (reason, read(&self.rejected[index_of(reason)])));
        report.requests = Requests {
            admitted: read(&self.admitted),
            rejected: rejected.filter(|(_, count)| *count > 0).collect(),
            would_reject: read(&self.would_reject),
            exempt: read(&self.exempt),
            cancelled: read(&self.cancelled),
        };
        let of = |histogram: fn(&Times) -> &Histogram| {
            self.times.get().map_or_else(Distribution::empty, |times| histogram(times).read())
        };
        report.around = self.around.read();
        report.response_time = of(|times| &times.response);
        report.queue_wait = of(|times| &times.wait);
        report.retry_after = of(|times| &times.retry_after);
        self.choose_turns(report.requests.admitted);
    }

    fn choose_turns(&self, admitted: u64) {
        let now = Instant::now();
        let mut last = self.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(last.0).as_secs_f64();
        // Two reports at once would see no rate.
        if elapsed < 0.1 {
            return;
        }
        let rate = admitted.saturating_sub(last.1) as f64 / elapsed;
        *last = (now, admitted);
        let every = (rate / TIMED_PER_SECOND).min(f64::from(MOST_TIMED_ONE_IN)) as u32;
        self.timed_one_in.store(every.max(1).next_power_of_two(), Ordering::Relaxed);
    }
}

impl Timing {
    pub(super) fn start(stats: &Arc<Stats>) -> Self {
        let weight = stats.timed_one_in.load(Ordering::Relaxed);
        Self { since: Instant::now(), weight, stats: Arc::clone(stats) }
    }

    /// The head of the response is ready.
    pub(super) fn record(&self) {
        let times = self.stats.times();
        times.response.record(self.since.elapsed(), u64::from(self.weight));
    }
}
