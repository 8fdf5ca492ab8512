//! What a layer is and does at one moment, as plain data.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{LimitChange, Mode, Reason};

use super::distribution::Distribution;
use crate::limiter::{CAUSES, Limiter};

/// What a layer is and does at one moment.
///
/// Numbers of requests and times only grow, from the first [`watch`](super::Registry::watch) on: a rate is the
/// difference of two reports by the time between them.
///
/// ```
/// use tower_backpressure::AdmissionLayer;
/// use tower_backpressure::observe::Registry;
///
/// let layer = AdmissionLayer::fixed("api-of-report", 8);
/// for report in Registry::global().reports() {
///     let limit = report.limiter.as_ref().map(|limiter| limiter.limit);
///     println!("{} {}: limit {limit:?}", report.kind.as_str(), report.name);
/// }
/// # drop(layer);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The number of the layer in this process, which no other has.
    pub id: u64,
    /// The name of the policy. Any text, and several layers may have the same.
    pub name: Arc<str>,
    /// What kind of layer it is.
    pub kind: Kind,
    /// The numbers of the layers that were seen directly around it, in the same task: at most 16.
    pub around: Vec<u64>,
    /// Whether it only decides and counts.
    pub dry_run: bool,
    /// How many requests it has admitted and rejected; for a retry layer, how many it has sent and given up.
    pub requests: Requests,
    /// From admission to the head of the response. Of about a thousand requests a second; each stands for all that
    /// were not timed.
    pub response_time: Distribution,
    /// Time in the queue, of the requests that had to wait.
    pub queue_wait: Distribution,
    /// When rejected requests were told to come back.
    pub retry_after: Distribution,
    /// Its limiter, where it has one for all requests.
    pub limiter: Option<LimiterReport>,
    /// Its retries, where it sends any.
    pub retries: Option<RetryReport>,
    /// Origins or compartments with a state of their own: those with the most requests, or the latest. At most
    /// [`MAX_PARTS`](Self::MAX_PARTS).
    pub parts: Vec<PartReport>,
    /// How many origins or compartments there are.
    pub part_count: usize,
    /// The tenants of a quota with the most requests lately, at most [`MAX_PARTS`](Self::MAX_PARTS).
    pub tenants: Vec<TenantReport>,
    /// How many tenants a quota knows.
    pub tenant_count: usize,
    /// Requests that a client layer holds back now, of all origins.
    pub held: usize,
    /// How often origins have entered a state, by its name, since the layer was made.
    pub transitions: Vec<(&'static str, u64)>,
}

/// What kind of layer a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An `AdmissionLayer`.
    Admission,
    /// A `BulkheadLayer`, or one with a compartment for each key.
    Bulkhead,
    /// A compartment of a `BulkheadSet`.
    Compartment,
    /// A `QueueLayer`.
    Queue,
    /// A `QuotaLayer`.
    Quota,
    /// A `RetryLayer`.
    Retry,
    /// An `OriginLimitLayer`.
    OriginLimit,
    /// A `CooldownLayer`.
    Cooldown,
    /// A `BreakerLayer`.
    Breaker,
    /// A `ThrottleLayer`.
    Throttle,
}

/// How many requests a layer has decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requests {
    /// Admitted, or sent by a client.
    pub admitted: u64,
    /// Rejected, by reason; reasons that did not occur are left out.
    pub rejected: Vec<(Reason, u64)>,
    /// Would have been rejected but for a dry run.
    pub would_reject: u64,
    /// Exempt.
    pub exempt: u64,
    /// Left the queue because their callers did.
    pub cancelled: u64,
}

/// The state of a limiter.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LimiterReport {
    /// How many may run at once.
    pub limit: usize,
    /// How many do, those without a permit included.
    pub in_flight: usize,
    /// Requests in the queue.
    pub queued: usize,
    /// Streams that count apart.
    pub streams: usize,
    /// 0 to 1: see [`Pressure`](crate::Pressure).
    pub pressure: f64,
    /// Whether demand is above capacity.
    pub overloaded: bool,
    /// Whether an operator lets requests in.
    pub mode: Mode,
    /// The least that the limit may be; 1 where no bound was set.
    pub min: usize,
    /// The most that the limit may be; 1 000 000 where no bound was set.
    pub max: usize,
    /// Whether the limit adapts to measurements.
    pub adapts: bool,
    /// The last change of the limit with the numbers behind it, and how long ago it was.
    pub last_change: Option<(LimitChange, Duration)>,
    /// How often the limit has changed, by cause: `experiment`, `operator` and so on. Causes that did not occur are
    /// left out.
    pub changes: Vec<(&'static str, u64)>,
}

/// An origin or a compartment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartReport {
    /// Its name: any text.
    pub name: Arc<str>,
    /// Its limiter, where it has one.
    pub limiter: Option<LimiterReport>,
    /// `open`, `half-open`, `quiet` and so on, where it has a state.
    pub state: Option<&'static str>,
    /// How much longer the state lasts; zero where it does not end by time.
    pub left: Duration,
    /// Requests that are held back.
    pub held: usize,
    /// The share of requests that is rejected in the client.
    pub rejected_share: f64,
}

/// What a retry layer has done.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RetryReport {
    /// First attempts.
    pub first_attempts: u64,
    /// Retries that were sent.
    pub retried: u64,
    /// Failures that were returned, by reason.
    pub gave_up: Vec<(&'static str, u64)>,
    /// Tokens of the budget: how many retries may be sent at once. Of a budget for each origin, of the one without.
    pub balance: f64,
    /// The most that it can be.
    pub largest_balance: f64,
}

/// One tenant of a quota.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TenantReport {
    /// Its key, escaped; the number of a tenant in hexadecimal digits.
    pub name: String,
    /// Requests a second, lately.
    pub rate: f64,
    /// The share of them that was rejected.
    pub rejected_share: f64,
}

impl Report {
    /// The most origins, compartments or tenants in a report.
    pub const MAX_PARTS: usize = 16;

    pub(crate) fn new(id: u64, name: impl Into<Arc<str>>, kind: Kind) -> Self {
        let [response_time, queue_wait, retry_after] = [(); 3].map(|()| Distribution::empty());
        Self {
            id,
            name: name.into(),
            kind,
            around: Vec::new(),
            dry_run: false,
            requests: Requests::default(),
            response_time,
            queue_wait,
            retry_after,
            limiter: None,
            retries: None,
            parts: Vec::new(),
            part_count: 0,
            tenants: Vec::new(),
            tenant_count: 0,
            held: 0,
            transitions: Vec::new(),
        }
    }

    /// Adds origins or compartments: `recent` of them are known, of `count`.
    pub(crate) fn set_parts(&mut self, mut recent: Vec<PartReport>, count: usize) {
        recent.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
        recent.truncate(Self::MAX_PARTS);
        self.part_count = count;
        self.parts = recent;
    }
}

impl PartReport {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            limiter: None,
            state: None,
            left: Duration::ZERO,
            held: 0,
            rejected_share: 0.0,
        }
    }

    /// By which those that matter are found.
    fn weight(&self) -> f64 {
        let limiter = self.limiter.as_ref();
        let load = limiter.map_or(0.0, |it| it.pressure + it.in_flight as f64 + it.queued as f64);
        load + self.held as f64 + self.rejected_share + self.left.as_secs_f64()
    }
}

impl LimiterReport {
    /// Of a limiter beside which this number of uncounted requests and of streams run.
    pub(crate) fn of(limiter: &Limiter, uncounted: usize, streams: usize) -> Self {
        let (snapshot, (min, max)) = (limiter.snapshot(), limiter.limit_bounds());
        let changes = CAUSES.into_iter().zip(limiter.limit_changes());
        Self {
            limit: snapshot.limit,
            in_flight: snapshot.in_flight + uncounted,
            queued: snapshot.queued,
            streams,
            pressure: limiter.pressure().value(),
            overloaded: snapshot.overloaded,
            mode: snapshot.mode,
            min,
            max,
            adapts: limiter.adapts(),
            last_change: limiter.last_change_and_age(),
            changes: changes.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Kind {
    /// A stable short name: `admission`, `origin-limit`, and so on.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Bulkhead => "bulkhead",
            Self::Compartment => "compartment",
            Self::Queue => "queue",
            Self::Quota => "quota",
            Self::Retry => "retry",
            Self::OriginLimit => "origin-limit",
            Self::Cooldown => "cooldown",
            Self::Breaker => "breaker",
            Self::Throttle => "throttle",
        }
    }

    /// Whether it is a layer of a client.
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(
            self,
            Self::Retry | Self::OriginLimit | Self::Cooldown | Self::Breaker | Self::Throttle
        )
    }
}
