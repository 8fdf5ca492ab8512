//! The handle of a quota layer: what an operator sees and does while it runs.

use std::any::Any;
use std::sync::{Arc, Weak};

use backpressure_core::{Quota, QuotaDecision, Reason, Shed, Standing, TakenTokens};

use super::books::Books;
use super::key::QuotaKey;
use super::plan::Plan;
use super::rules::DEFAULT_PLAN;
use super::subject::Subject;
use super::table::TakenFrom;
use crate::admission::switches::Switches;
use crate::observe::{Kind, Part, Registry, Report, Telemetry};

/// Observes and operates one quota layer, from anywhere in the process.
///
/// A layer has one, and clones are the same handle. [`QuotaHandle::named`] finds it by the name of its policy.
///
/// ```
/// use tower_backpressure::Quota;
/// use tower_backpressure::server::{ByTenant, QuotaHandle, QuotaLayer};
///
/// let layer = QuotaLayer::per("quota-of-this-example", ByTenant, Quota::per_second(10));
/// let handle = QuotaHandle::named("quota-of-this-example").expect("the layer exists");
/// handle.set_quota(Quota::per_second(20));
/// assert_eq!(layer.handle().quota(), Quota::per_second(20));
/// ```
#[derive(Clone, Debug)]
pub struct QuotaHandle {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    id: u64,
    telemetry: Telemetry,
    books: Arc<Books>,
    switches: Switches,
}

/// How one key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaStanding {
    /// Its plan.
    pub plan: Box<str>,
    /// Each window of the plan.
    pub windows: Vec<Standing>,
    /// Its requests in flight, where the plan limits them.
    pub in_flight: u32,
}

impl QuotaHandle {
    pub(super) fn register(telemetry: &Telemetry, books: &Arc<Books>, switches: Switches) -> Self {
        let (id, telemetry, books) = (telemetry.stats().id(), telemetry.clone(), Arc::clone(books));
        let state = Arc::new(State { id, telemetry, books, switches });
        let part: Weak<State> = Arc::downgrade(&state);
        Registry::global().add(id, part);
        Self { state }
    }

    /// The handles of all quota layers in this process, in the order in which they were made.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Registry::global().all_of().into_iter().map(|state| Self { state }).collect()
    }

    /// The handle of the quota layer with this name; of several the newest. `None`: there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().rev().find(|handle| handle.name() == name)
    }

    /// The number of the layer in this process: that of its [`Report`].
    #[must_use]
    pub fn id(&self) -> u64 {
        self.state.id
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.telemetry.policy()
    }

    /// The quota of the plan `default`.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.plan(DEFAULT_PLAN).expect("each layer has this plan")
    }

    /// The quota of the plan with this name.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<Quota> {
        let table = &self.state.books.table;
        table.plan_named(name).and_then(|plan| table.plan(plan)).map(|plan| plan.quota)
    }

    /// Changes the quota of the plan `default` for all its keys. What a key has used stays used; see
    /// [`Quota::usage_after`](crate::Quota::usage_after). It takes about 50 ns for each key of the layer.
    pub fn set_quota(&self, quota: Quota) {
        self.set_plan(DEFAULT_PLAN, quota);
    }

    /// Changes the quota of the plan with this name; false when there is none.
    pub fn set_plan(&self, name: &str, quota: Quota) -> bool {
        let books = &self.state.books;
        let Some(position) = books.table.plan_named(name) else { return false };
        books.set_plan(position, Plan::new(self.name(), name, quota));
        true
    }

    /// Switches the dry run on or off, whatever the layer was built with.
    pub fn set_dry_run(&self, dry_run: bool) {
        self.state.switches.set_dry_run(dry_run);
    }

    /// How a key stands; `None`: it has used nothing lately.
    #[must_use]
    pub fn standing(&self, key: impl Into<QuotaKey>) -> Option<QuotaStanding> {
        let books = &self.state.books;
        let decided = books.peek(books.table.slot(&key.into()))?;
        let windows = decided.standing(books.now());
        let plan = decided.plan.name.clone();
        Some(QuotaStanding { plan, windows, in_flight: decided.in_flight })
    }

    /// Forgives a key what it has used. Of a quota that replicas share, only the store can.
    pub fn forget(&self, key: impl Into<QuotaKey>) {
        let table = &self.state.books.table;
        table.forget(table.slot(&key.into()));
    }

    /// Takes tokens of a key by the plan `default`, for work that is no HTTP request. It does not count as a request
    /// in flight, and is not delayed.
    ///
    /// ```
    /// use tower_backpressure::Quota;
    /// use tower_backpressure::server::{ByTenant, QuotaLayer};
    ///
    /// let layer = QuotaLayer::per("jobs", ByTenant, Quota::per_hour(1));
    /// assert!(layer.handle().try_take("batch", 1).is_ok());
    /// let shed = layer.handle().try_take("batch", 1).expect_err("one an hour");
    /// assert!(shed.retry_after.as_secs() >= 3_599);
    /// ```
    ///
    /// # Errors
    /// [`Shed`] with the time until there are tokens, when the key has used up its quota.
    pub fn try_take(&self, key: impl Into<QuotaKey>, tokens: u64) -> Result<(), Shed> {
        let books = &self.state.books;
        let key = key.into();
        let (slot, taken_from) = (books.table.slot(&key), TakenFrom::default());
        let mut subject = Subject { key, slot, plan: 0, cost: tokens, taken_from };
        let decided = books.decide(&subject, books.now());
        subject.taken_from = decided.taken_from;
        let is_rejected = matches!(decided.decision, QuotaDecision::Reject(_));
        if decided.plan.quota.max_in_flight().is_some() && !is_rejected {
            books.leave(slot);
        }
        let retry_after = match decided.decision {
            QuotaDecision::Admit => return Ok(()),
            QuotaDecision::Delay(delay) => {
                books.settle(&subject, &mut TakenTokens::of(tokens), 0);
                delay
            }
            QuotaDecision::Reject(rejection) => rejection.retry_after,
        };
        Err(Shed::new(Reason::Quota, retry_after))
    }

    /// The number of keys that are kept.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.state.books.len()
    }

    /// How many keys were forgotten to make room for others: those that had all their tokens, and those that were
    /// forgiven what they had used. If the second number grows, there are more keys than `max_keys`.
    #[must_use]
    pub fn evicted(&self) -> (u64, u64) {
        self.state.books.table.evicted()
    }
}

impl Part for State {
    fn report(&self) -> Report {
        let mut report = Report::new(self.id, Arc::clone(self.telemetry.policy()), Kind::Quota);
        report.dry_run = self.switches.is_dry_run();
        self.telemetry.stats().fill(&mut report);
        report.tenants = self.books.busiest.report();
        report.tenant_count = self.books.len();
        report
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
