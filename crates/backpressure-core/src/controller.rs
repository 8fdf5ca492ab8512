//! The admission controller: decides which requests run, which are queued and which are rejected.

use std::time::Duration;

use crate::bounds::QueueBounds;
use crate::decision::{Decision, Dequeued};
use crate::early_leavers::EarlyLeavers;
use crate::ewma::Ewma;
use crate::fair_shares::FairShares;
use crate::flood_detector::FloodDetector;
use crate::hold::Hold;
use crate::latency_estimate::LatencyEstimate;
use crate::limit::Limit;
use crate::limit::clamped::Clamped;
use crate::outcome::Outcome;
use crate::overload_detector::OverloadDetector;
use crate::queue::{Queue, Ticket};
use crate::rank::{DemandMix, PriorityHold};
use crate::release_rate::ReleaseRate;
use crate::request_info::RequestInfo;
use crate::reserved_shares::ReservedShares;
use crate::sample::Sample;
use crate::schedule::RetryAfterSchedule;
use crate::shed::{Reason, Shed};
use crate::stall_detector::StallDetector;
use crate::throughput::Throughput;
use crate::time::Timestamp;

mod allowance;
mod demand;
mod mode;
mod progress;
mod queueing;
mod readings;
mod rejection;
mod settings;
mod sharing;

pub use self::mode::Mode;

use self::queueing::MEAN_COST_REQUESTS;

/// The admission controller: owns the limit, the queue and the schedule of Retry-After.
///
/// The driver counts what is in flight. It calls [`arrive`](Self::arrive) for a request and
/// [`complete`](Self::complete) with what a finished one measured. After either it calls
/// [`next`](Self::next) until that returns `None`.
///
/// ```
/// use backpressure_core::{Controller, Decision, Dequeued, Fixed, QueueBounds, RequestInfo, Timestamp};
///
/// let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
/// let now = Timestamp::ZERO;
/// assert_eq!(controller.arrive(RequestInfo::default(), 0, now), Decision::Run);
/// let Decision::Queue(ticket, _) = controller.arrive(RequestInfo::default(), 1, now) else {
///     panic!("the limit is reached, the queue is empty");
/// };
/// // The first request ends: none is in flight.
/// assert_eq!(controller.next(0, now), Some(Dequeued::Run(ticket)));
/// assert_eq!(controller.next(1, now), None);
/// ```
///
/// # How a request is decided
///
/// 1. While it is drained or stopped, the request is rejected; while it is paused, the request is queued.
/// 2. A request whose deadline has passed is rejected.
/// 3. It runs if fewer than [`limit`](Self::limit) are in flight and the queue is empty. A request of a
///    lower rank does not, for as long as one of a higher rank that was just rejected would have been queued.
/// 4. It is rejected if there is no queue ([`Reason::Limit`]), or if it could not be answered before its
///    deadline ([`Reason::Deadline`]): behind the requests ahead of it, at the throughput measured.
/// 5. It is queued if there is room, behind requests of its rank and above. Rank is priority first, then
///    whether it comes back when it was told to.
///    - Usually there is room for [`QueueBounds::max_len`]. Each may be queued for
///      [`QueueBounds::max_wait`], or until its turn if it comes back when it was told to
///      ([`Reason::QueueTimeout`]).
///    - Under overload there is room for as few as keep permits from being idle, so that the queue adds
///      little latency. Requests of a lower rank give way ([`Reason::Displaced`]).
///    - Above 1.3 times the capacity the newest request of a rank runs first and the oldest gives way,
///      since most will never be served. Otherwise the oldest runs first.
/// 6. Otherwise it is rejected ([`Reason::QueueFull`]).
///
/// *Overload*: more requests arrive than are served, by more than chance explains, while a queue lasts for
/// longer than 100 ms and two latencies. A shorter queue is a burst, and is queued to its last request.
///
/// Each rejection carries a time to come back. These times are spread over the throughput that new requests
/// leave, so that rejected requests return one after another.
#[derive(Debug)]
pub struct Controller {
    limit: Clamped,
    bounds: QueueBounds,
    queue: Queue,
    overload: OverloadDetector,
    early_leavers: EarlyLeavers,
    schedule: RetryAfterSchedule,
    flood: FloodDetector,
    throughput: Throughput,
    releases: ReleaseRate,
    demand_mix: DemandMix,
    priority_hold: PriorityHold,
    shares: ReservedShares,
    tenants: FairShares,
    /// What is its own of an allowance; see [`allow`](Self::allow).
    guaranteed: usize,
    /// Whether units beyond that are to be returned as soon as they are free.
    is_recalled: bool,
    /// What the request holds that was admitted last.
    admitted: Hold,
    /// Units that requests take.
    cost: Ewma,
    latency: LatencyEstimate,
    stall: StallDetector,
    /// Whether the last request that was rejected was so before it came here: no more come than are served.
    rejects_before: bool,
    /// Whether the limit was last told of overload.
    reported_overload: bool,
    mode: Mode,
    /// Requests that a pause has left in the queue, or a compartment that had to wait for what it had lent.
    kept: usize,
    /// The limit as last observed, and when it last rose; `None` after it fell.
    last_rise: (usize, Option<Timestamp>),
    /// Whether the limit is taken to protect the service: it is known to, or it has stopped rising.
    limit_protects: bool,
    /// Time that workers have spent on requests so far.
    worked: Duration,
}

impl Controller {
    /// A controller that has measured nothing yet.
    #[must_use]
    pub fn new(limit: Box<dyn Limit>, bounds: QueueBounds) -> Self {
        Self {
            limit: Clamped::new(limit),
            bounds,
            queue: Queue::default(),
            overload: OverloadDetector::new(),
            early_leavers: EarlyLeavers::default(),
            schedule: RetryAfterSchedule::new(),
            flood: FloodDetector::default(),
            throughput: Throughput::new(),
            releases: ReleaseRate::new(),
            demand_mix: DemandMix::new(),
            priority_hold: PriorityHold::default(),
            shares: ReservedShares::default(),
            tenants: FairShares::default(),
            guaranteed: 0,
            is_recalled: false,
            admitted: Hold::ONE,
            cost: Ewma::settled_at(1.0, MEAN_COST_REQUESTS),
            latency: LatencyEstimate::new(),
            stall: StallDetector::default(),
            rejects_before: false,
            reported_overload: false,
            mode: Mode::Admitting,
            kept: 0,
            last_rise: (0, None),
            limit_protects: true,
            worked: Duration::ZERO,
        }
    }

    /// Decides on a request that arrives while `in_flight` others are in flight.
    pub fn arrive(&mut self, info: RequestInfo, in_flight: usize, now: Timestamp) -> Decision {
        self.check_pause(now);
        self.end_overload_if_idle(in_flight, now);
        let hold = self.hold_for(&info, now);
        self.record_arrival(self.rank_of(&info), &info, in_flight, now);
        self.check_stall(in_flight, now);
        let decision = self.decide(info, hold, in_flight, now);
        if decision == Decision::Run {
            self.admit(hold, now);
            self.shares.admitted(info.priority);
        }
        self.report_demand(now);
        decision
    }

    fn decide(
        &mut self,
        info: RequestInfo,
        hold: Hold,
        in_flight: usize,
        now: Timestamp,
    ) -> Decision {
        if let Some(decision) = self.decide_by_mode(info, hold, now) {
            return decision;
        }
        if info.deadline.is_some_and(|deadline| deadline <= now) {
            return self.reject_expired(hold, in_flight, now);
        }
        let is_demand = self.early_leavers.counts(1);
        let is_held = self.priority_hold.holds(self.rank_of(&info), now);
        let leaves_permits = self.must_leave_permits(hold, in_flight, now);
        if self.can_run(hold, in_flight) && !is_held && !leaves_permits {
            self.count_admitted(is_demand, now);
            self.record_start(now);
            return Decision::Run;
        }
        self.ask(hold, now);
        self.count_limit_reached(is_demand, now);
        let decision = match leaves_permits {
            true => Decision::Reject(self.shed_of(hold, Reason::TenantShare, now)),
            false => self.queue_or_reject_by_share(info, hold, is_held, in_flight, now),
        };
        match decision {
            Decision::Reject(_) => {
                self.rejects_before = false;
                self.count_rejected(is_demand, now);
            }
            _ => self.count_admitted(is_demand, now),
        }
        decision
    }

    /// Decides on a request of the default priority that must not be queued.
    ///
    /// # Errors
    /// [`Shed`] when it cannot run now.
    pub fn arrive_without_queue(&mut self, in_flight: usize, now: Timestamp) -> Result<(), Shed> {
        self.check_pause(now);
        if let Some(shed) = self.shed_by_mode() {
            return Err(shed);
        }
        let info = RequestInfo::default();
        let (rank, hold) = (self.rank_of(&info), self.hold_for(&info, now));
        self.record_arrival(rank, &info, in_flight, now);
        self.early_leavers.counts(1);
        if self.can_run(hold, in_flight) && !self.priority_hold.holds(rank, now) {
            self.admit(hold, now);
            return Ok(());
        }
        self.hold_ranks_below(rank.index(), now);
        self.note_limit_reached(now);
        Err(self.shed_of(hold, Reason::Limit, now))
    }

    /// `count` requests were admitted without a decision since the last call; see [`open`](Self::open).
    pub fn admitted_undecided(&mut self, count: u32, now: Timestamp) {
        self.releases.admitted(count);
        self.early_leavers.counts(count);
        self.schedule.arrived(count, now);
    }

    /// Learns from an attempt that finished. Attempts that were not measured are not reported.
    pub fn complete(&mut self, sample: &Sample, now: Timestamp) {
        self.latency.record_quantiles(sample);
        if self.left_early(sample, now) {
            return;
        }
        if matches!(sample.outcome, Outcome::Success | Outcome::Cancelled) {
            self.stall.ended(sample, self.latency.percentile_98(), now);
        }
        let per_unit = sample.per_unit();
        self.throughput.record(&per_unit, self.limit());
        self.limit.observe(&per_unit, now);
        if sample.outcome != Outcome::Cancelled {
            self.overload.served(sample.weight, self.latency.mean(), now);
        }
        self.latency.record_mean(sample);
    }

    /// What happens next to queued requests, with `in_flight` in flight; `None`: nothing.
    pub fn next(&mut self, in_flight: usize, now: Timestamp) -> Option<Dequeued> {
        self.observe_releases(in_flight, now);
        self.check_pause(now);
        if let Some(next) = self.next_by_mode(now) {
            return next;
        }
        let is_over_bound = self.is_over_bound();
        if let Some((ticket, hold)) = self.displace(now) {
            self.overload.displaced(now);
            let shed = match is_over_bound && !self.is_over_share(hold) {
                true => self.shed_in_turn(Reason::Displaced, now),
                false => self.shed_of(hold, Reason::Displaced, now),
            };
            return Some(Dequeued::Reject(ticket, shed));
        }
        if !self.queue.is_empty() {
            self.check_stall(in_flight, now);
        }
        if in_flight >= self.limit.limit() {
            return None;
        }
        let Some((ticket, entry)) = self.first_to_run(now) else {
            self.overload.drained();
            self.overload.end_if_idle(in_flight, self.limit(), self.latency.mean(), now);
            self.report_demand(now);
            return None;
        };
        if entry.expires_at < now {
            self.take(ticket);
            return Some(Dequeued::Reject(ticket, self.shed_expired(entry, now)));
        }
        if !self.has_room(entry.hold, in_flight) {
            // No smaller one passes it, or it would wait for ever.
            return None;
        }
        self.admit_queued(ticket, entry.hold, now);
        self.overload.dequeued(self.queue.len());
        self.shares.admitted(ticket.priority());
        self.record_start(now);
        Some(Dequeued::Run(ticket))
    }

    /// The caller of a queued request has left; false when the ticket was decided before. One that left sooner than a
    /// response takes is not counted as demand.
    pub fn abandon(&mut self, ticket: Ticket, now: Timestamp) -> bool {
        let entry = self.take(ticket);
        if let Some(entry) = entry {
            self.early_leavers.left_queue(now.since(entry.queued_at), self.latency.mean());
            // A longer queue would only make more callers leave.
            self.last_rise.1 = None;
        }
        entry.is_some()
    }

    /// Rejects a request that was queued until the moment given in [`Decision::Queue`]; `None` when the
    /// ticket was decided before.
    pub fn expire(&mut self, ticket: Ticket, now: Timestamp) -> Option<Shed> {
        let entry = self.take(ticket)?;
        Some(self.shed_expired(entry, now))
    }

    fn end_overload_if_idle(&mut self, in_flight: usize, now: Timestamp) {
        if self.queue.is_empty() {
            self.overload.end_if_quiet(self.latency.mean(), now);
            self.overload.end_if_idle(in_flight, self.limit(), self.latency.mean(), now);
        }
    }

    fn observe_releases(&mut self, in_flight: usize, now: Timestamp) {
        let (limit, decides_all) = (self.limit(), self.open() == 0);
        let estimate = || self.throughput.per_second(self.limit.workers());
        self.releases.observe(in_flight, limit, decides_all, estimate, now);
    }

    /// Whether a new request can run at once without passing a queued one.
    fn can_run(&self, hold: Hold, in_flight: usize) -> bool {
        self.has_room(hold, in_flight) && self.queue.is_empty()
    }

    fn has_room(&self, hold: Hold, in_flight: usize) -> bool {
        in_flight + self.units(hold) <= self.limit()
    }
}
