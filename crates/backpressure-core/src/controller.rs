//! The admission controller: who runs, who waits, who is turned away.

use std::time::Duration;

use crate::bounds::QueueBounds;
use crate::decision::{Decision, Dequeued};
use crate::flood_detector::FloodDetector;
use crate::latency_estimate::LatencyEstimate;
use crate::limit::clamped::Clamped;
use crate::limit::{Limit, Metering};
use crate::limit_change::LimitChange;
use crate::outcome::Outcome;
use crate::overload_detector::OverloadDetector;
use crate::queue::{Queue, Ticket};
use crate::rank::{DemandMix, HeldBack, Rank};
use crate::release_rate::ReleaseRate;
use crate::request_info::RequestInfo;
use crate::sample::Sample;
use crate::schedule::RetryAfterSchedule;
use crate::shed::{Reason, Shed};
use crate::stall_detector::StallDetector;
use crate::throughput::Throughput;
use crate::time::Timestamp;

mod progress;
mod queueing;
mod rejection;
mod settings;

use self::queueing::LOWEST;

/// The admission controller.
///
/// It is told how many are in flight and owns everything else: the limit, the queue and the
/// schedule of returns. Call [`arrive`](Self::arrive) for a request, [`depart`](Self::complete) with what a
/// finished one measured, and [`next`](Self::next) until it is silent after either.
///
/// ```
/// use backpressure_core::{RequestInfo, Fixed, Controller, Dequeued, QueueBounds, Timestamp, Decision};
///
/// let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
/// let now = Timestamp::ZERO;
/// assert_eq!(controller.arrive(RequestInfo::default(), 0, now), Decision::Run);
/// let Decision::Queue(ticket, _) = controller.arrive(RequestInfo::default(), 1, now) else {
///     panic!("the limit is reached, the queue is empty");
/// };
/// // The first one ends: nobody is in flight.
/// assert_eq!(controller.next(0, now), Some(Dequeued::Run(ticket)));
/// assert_eq!(controller.next(1, now), None);
/// ```
#[derive(Debug)]
pub struct Controller {
    limit: Clamped,
    bounds: QueueBounds,
    queue: Queue,
    overload: OverloadDetector,
    schedule: RetryAfterSchedule,
    flood: FloodDetector,
    throughput: Throughput,
    releases: ReleaseRate,
    mix: DemandMix,
    held_back: HeldBack,
    /// What the limit was last told of demand.
    told: bool,
    latency: LatencyEstimate,
    /// Newcomers are sent elsewhere; those who wait are still served.
    draining: bool,
    stall: StallDetector,
    /// The limit as it was last seen, and when it last rose, unless it has fallen since.
    risen: (usize, Option<Timestamp>),
    /// Whether the limit is taken to protect something: it is known to, or it has stopped rising.
    protects: bool,
    /// Time that workers have spent on requests so far.
    worked: Duration,
}

impl Controller {
    /// A controller without history.
    #[must_use]
    pub fn new(limit: Box<dyn Limit>, bounds: QueueBounds) -> Self {
        Self {
            limit: Clamped::new(limit),
            bounds,
            queue: Queue::default(),
            overload: OverloadDetector::new(),
            schedule: RetryAfterSchedule::new(),
            flood: FloodDetector::default(),
            throughput: Throughput::default(),
            releases: ReleaseRate::default(),
            mix: DemandMix::default(),
            held_back: HeldBack::default(),
            told: false,
            latency: LatencyEstimate::default(),
            draining: false,
            stall: StallDetector::default(),
            risen: (0, None),
            protects: true,
            worked: Duration::ZERO,
        }
    }

    /// A request arrives while `in_flight` others are in flight.
    pub fn arrive(&mut self, info: RequestInfo, in_flight: usize, now: Timestamp) -> Decision {
        if self.queue.is_empty() {
            self.overload.rest(self.latency.latency, now);
            self.overload.unfilled(in_flight, self.limit(), self.latency.latency, now);
        }
        self.asked(Rank::of(&info), in_flight, now);
        self.watch(in_flight, now);
        let verdict = self.decide(info, in_flight, now);
        if verdict == Decision::Run {
            self.releases.entered();
        }
        self.tell(now);
        verdict
    }

    fn decide(&mut self, info: RequestInfo, in_flight: usize, now: Timestamp) -> Decision {
        if let Some(shed) = self.sent_elsewhere() {
            return Decision::Reject(shed);
        }
        if info.deadline.is_some_and(|deadline| deadline <= now) {
            return self.refuse_late(in_flight, now);
        }
        let held_back = self.held_back.holds_back(Rank::of(&info), now);
        if self.has_place(in_flight) && !held_back {
            self.overload.admitted(self.limit(), self.room(LOWEST), now);
            self.start(now);
            return Decision::Run;
        }
        self.overload.crowded(self.latency.latency, now);
        self.flood.crowded(self.per_second(), now);
        let verdict = self.seat(info, held_back, now);
        match verdict {
            Decision::Reject(_) => self.overload.shed(now),
            _ => self.overload.admitted(self.limit(), self.room(LOWEST), now),
        }
        verdict
    }

    /// A request of the default class arrives that would rather be turned away than wait.
    ///
    /// # Errors
    /// [`Shed`] when it cannot run now.
    pub fn arrive_without_queue(&mut self, in_flight: usize, now: Timestamp) -> Result<(), Shed> {
        if let Some(shed) = self.sent_elsewhere() {
            return Err(shed);
        }
        let rank = Rank::of(&RequestInfo::default());
        self.asked(rank, in_flight, now);
        if self.has_place(in_flight) && !self.held_back.holds_back(rank, now) {
            self.releases.entered();
            return Ok(());
        }
        self.hold_back_below(rank.index(), now);
        self.flood.crowded(self.per_second(), now);
        Err(self.shed(Reason::Limit, now))
    }

    /// So many have passed without asking, since this was last said; see [`open`](Self::open).
    pub fn admitted_undecided(&mut self, count: u32, now: Timestamp) {
        self.releases.admitted_undecided(count);
        self.schedule.arrived(count, now);
    }

    /// An attempt finished and measured this. Attempts that were not measured are not reported.
    pub fn complete(&mut self, sample: &Sample, now: Timestamp) {
        if self.ended(sample) {
            self.stall.ended(sample.weight);
        }
        self.throughput.observe(sample, self.limit());
        self.limit.observe(sample, now);
        if sample.outcome != Outcome::Cancelled {
            self.overload.served(sample.weight, self.latency.latency, now);
        }
        self.latency.learn(sample);
    }

    /// What happens next to those who wait, with `in_flight` in flight; `None`: nothing.
    pub fn next(&mut self, in_flight: usize, now: Timestamp) -> Option<Dequeued> {
        self.releases.visit(in_flight, self.limit(), self.open() == 0, now);
        let is_cut_short = self.queue.len() > self.bounds.max_len;
        if let Some(victim) = self.victim(now) {
            self.overload.displaced(now);
            let reason = Reason::Displaced;
            let shed = if is_cut_short { self.cut(reason, now) } else { self.shed(reason, now) };
            return Some(Dequeued::Reject(victim, shed));
        }
        if !self.queue.is_empty() {
            self.watch(in_flight, now);
        }
        if in_flight >= self.limit.limit() {
            return None;
        }
        let Some((ticket, patience)) = self.pop() else {
            self.overload.drained();
            self.overload.unfilled(in_flight, self.limit(), self.latency.latency, now);
            self.tell(now);
            return None;
        };
        if patience.until < now {
            return Some(Dequeued::Reject(ticket, self.give_up(patience, now)));
        }
        self.overload.waiting(self.queue.len());
        self.releases.entered();
        self.start(now);
        Some(Dequeued::Run(ticket))
    }

    /// A caller has left the queue; false when its ticket was answered before.
    pub fn abandon(&mut self, ticket: Ticket) -> bool {
        let waited = self.queue.remove(ticket).is_some();
        if waited {
            // A longer queue would only make more callers leave.
            self.risen.1 = None;
        }
        waited
    }

    /// Somebody has waited for as long as waiting makes sense; `None` when it was answered before.
    pub fn expire(&mut self, ticket: Ticket, now: Timestamp) -> Option<Shed> {
        let patience = self.queue.remove(ticket)?;
        Some(self.give_up(patience, now))
    }

    /// How many may run at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.limit()
    }

    /// The last move of the limit, and why it was made.
    #[must_use]
    pub fn last_change(&self) -> Option<LimitChange> {
        self.limit.last_change()
    }

    /// How many may be in flight before an arrival has to ask: the limit while nobody waits.
    ///
    /// Under overload everybody asks: only who is counted can tell that it has passed. So does a
    /// request that may have to leave a free place to a higher class.
    #[must_use]
    pub fn open(&self) -> usize {
        let asks = self.overload.is_overloaded() || self.held_back.is_active() || self.draining;
        if self.queue.is_empty() && !asks { self.limit() } else { 0 }
    }

    /// How many wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether demand is above capacity.
    #[must_use]
    pub fn is_overloaded(&self, now: Timestamp) -> bool {
        self.overload.is_overloaded() && !self.overload.is_quiet(self.latency.latency, now)
    }

    /// Whether far more is asked for than could be served, as of the last request that could not run
    /// at once: callers ask again as soon as they are refused, or a crowd came in one moment.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.flood.is_flood()
    }

    /// What has to be measured of an attempt.
    #[must_use]
    pub fn metering(&self) -> Metering {
        self.limit.metering()
    }

    /// Whether an admitted request should yield once before it runs; see [`Limit::yields`].
    #[must_use]
    pub fn yields(&self) -> bool {
        self.limit.yields()
    }

    /// Where nothing is measured, whoever starts is taken to be served.
    fn start(&mut self, now: Timestamp) {
        if self.latency.latency.is_zero() {
            self.overload.served(1, self.latency.latency, now);
        }
    }

    fn tell(&mut self, now: Timestamp) {
        let overloaded = self.overload.is_overloaded();
        if overloaded != self.told {
            self.told = overloaded;
            self.limit.demand(overloaded, now);
        }
    }

    /// Whether a newcomer can run at once without passing anybody who waits.
    fn has_place(&self, in_flight: usize) -> bool {
        in_flight < self.limit() && self.queue.is_empty()
    }
}
