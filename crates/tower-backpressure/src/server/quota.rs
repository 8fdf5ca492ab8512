//! The quota layer: how much each tenant may use.

use std::sync::Arc;

use backpressure_core::{Priority, Quota};
use http::request::Parts;
use http::response;
use tower_layer::Layer;

mod books;
mod busiest;
mod future;
mod handle;
mod index;
mod key;
mod keyed;
mod operation;
mod plan;
#[cfg(feature = "policy")]
mod rebuild;
mod reservation;
mod rules;
mod running;
mod service;
mod shared;
mod store;
mod subject;
mod table;
mod telemetry;

pub use self::future::QuotaFuture;
pub use self::handle::{QuotaHandle, QuotaStanding};
pub use self::key::{ByHeader, ByTenant, ClientAddress, ExtractKey, QuotaKey};
pub use self::reservation::Reservation;
pub(crate) use self::rules::Rules;
pub use self::rules::UnknownTenant;
pub use self::service::WithQuota;
pub use self::shared::{OnStoreFailure, SharedQuota};
pub use self::store::{Exchange, ExchangeFuture, QuotaStore};
pub use crate::headers::rate_limit_fields::RateLimitFields;

use self::plan::Plan;

/// Gives each tenant a [`Quota`]: a number of requests or tokens in a time, and of requests at once. A request beyond
/// it is rejected with a 429 that says when there is more.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_backpressure::{AdmissionLayer, Quota, RequestInfo, RequestInfoLayer, Tenant};
/// use tower_backpressure::server::{ByTenant, QuotaLayer};
///
/// /// Set by an authentication layer further out.
/// #[derive(Clone)]
/// struct Account(u64);
///
/// let tenants = RequestInfoLayer::from_headers().base(|head: &http::request::Parts| {
///     match head.extensions.get() {
///         Some(&Account(number)) => RequestInfo::default().tenant(Tenant::new(number)),
///         None => RequestInfo::default(),
///     }
/// });
/// let quota = Quota::per_second(10).burst(20).and(Quota::per_day(10_000));
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(AdmissionLayer::adaptive("api"))
///     .layer(QuotaLayer::per("tenants", ByTenant, quota)) // outside of admission
///     .layer(tenants);
/// ```
///
/// All state lives in the layer value: its services and clones share it.
///
/// | option | default | why |
/// |---|---|---|
/// | [`unknown`](Self::unknown) | [`UnknownTenant::Shared`] | a caller must not escape its quota by hiding its name |
/// | [`cost`](Self::cost) | that of the [`RequestInfo`](crate::RequestInfo), which is 1 | requests are counted; name a weight where they differ |
/// | [`plan`](Self::plan), [`plan_of`](Self::plan_of) | one plan for all | tenants may pay for more |
/// | [`fields`](Self::fields) | [`RateLimitFields::Draft11`] | clients that know what is left need not run into the limit |
/// | [`soft`](Self::soft) | none | a quota that only lowers the priority needs a limit inside that honours it |
/// | [`settle`](Self::settle), [`expose_reservation`](Self::expose_reservation) | none | most costs are known beforehand |
/// | [`max_keys`](Self::max_keys) | 1 000 000 | about 36 MB when all are used, 60 with two windows, 230 of a shared quota; nothing is allocated before |
/// | [`shared`](Self::shared) | in this process only | replicas need a store to share a quota |
/// | [`dry_run`](Self::dry_run) | false | turn it on to see what would be rejected |
/// | [`exempt`](Self::exempt) | no request | health checks, a preflight `OPTIONS` |
/// | [`on_reject`](Self::on_reject) | problem details (RFC 9457) of the type `quota-exceeded` | a page of your own |
///
/// # What a rejection says
/// 429, `Retry-After` with the second in which there are tokens for this request, the fields of
/// [`RateLimitFields`], and [`SHED_REASON`](crate::SHED_REASON): it was not begun, and took no token. gRPC calls are
/// rejected with `RESOURCE_EXHAUSTED`, `grpc-retry-pushback-ms` and `google.rpc.RetryInfo`.
///
/// # Where it belongs
/// Outside an [`AdmissionLayer`](crate::AdmissionLayer), which takes the mark "not begun" from the rejections of
/// layers inside it, and turns their 429 into a 503. A quota layer takes that mark from responses as well, since it
/// has let their requests through.
///
/// # Errors
/// The service's own errors pass through. A rejection is a response, never an error.
///
/// # Cancellation
/// A request that is dropped before the service inside was called, while it was delayed, gets its tokens back. So does
/// one that a layer of this crate inside rejects. A request that has begun has cost what it has cost, however it ends.
///
/// # Bounds
/// When there are `max_keys` keys, a new one takes the place of one that has all its tokens again, and loses
/// nothing by it. If none of the sixteen that are looked at has, the one that would have them first is forgotten, and is
/// forgiven what it has used; [`QuotaHandle::evicted`] counts both. Keys with requests in flight are never
/// forgotten. If there are no others, new keys share one quota.
#[derive(Clone, Debug)]
pub struct QuotaLayer {
    rules: Arc<Rules>,
    handle: QuotaHandle,
}

/// How many keys are kept by default.
const MAX_KEYS: usize = 1_000_000;

impl QuotaLayer {
    /// A quota for each key; `name` labels metrics and events, and begins the names of the policies that clients are
    /// told.
    #[must_use]
    pub fn per(name: &str, key: impl ExtractKey, quota: Quota) -> Self {
        let mut rules = Rules::new(name, key, quota, MAX_KEYS);
        let handle = QuotaHandle::register(&rules.telemetry, &rules.books, rules.switches.clone());
        rules.switches = rules.switches.registered(handle.clone());
        Self { rules: Arc::new(rules), handle }
    }

    /// One quota for all requests.
    #[must_use]
    pub fn of_all(name: &str, quota: Quota) -> Self {
        Self::per(name, |_: &Parts| Some(QuotaKey::from("")), quota)
    }

    /// What happens to requests of which the key is unknown.
    #[must_use]
    pub fn unknown(mut self, unknown: UnknownTenant) -> Self {
        self.edit().unknown = unknown;
        self
    }

    /// How many tokens a request costs: a weight by its route, the length of its body, an estimate. A request
    /// that costs more than a burst is never admitted. One that costs 0 is admitted unless the key is in debt.
    ///
    /// ```
    /// use tower_backpressure::Quota;
    /// use tower_backpressure::server::{ByTenant, QuotaLayer};
    ///
    /// let layer = QuotaLayer::per("points", ByTenant, Quota::per_minute(1_000)).cost(|head| {
    ///     if head.uri.path().starts_with("/export") { 100 } else { 1 }
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn cost(mut self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.edit().cost = Some(Arc::new(cost));
        self
    }

    /// Adds a plan, which [`plan_of`](Self::plan_of) may name. The quota of the constructor is the plan `default`.
    ///
    /// ```
    /// use tower_backpressure::Quota;
    /// use tower_backpressure::server::{ByTenant, QuotaLayer};
    ///
    /// #[derive(Clone)]
    /// struct Account { plan: String }
    ///
    /// let layer = QuotaLayer::per("plans", ByTenant, Quota::per_minute(60))
    ///     .plan("pro", Quota::per_minute(6_000))
    ///     .plan("internal", Quota::unlimited())
    ///     .plan_of(|head| head.extensions.get().map_or("default", |account: &Account| &account.plan));
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When there is a plan with this name.
    #[must_use]
    pub fn plan(mut self, name: &str, quota: Quota) -> Self {
        let layer = self.handle.name().to_owned();
        let rules = self.edit();
        assert!(rules.plans.iter().all(|known| **known != *name), "a plan must have one quota");
        let position = u32::try_from(rules.plans.len()).expect("plans fit the memory");
        rules.plans.push(name.into());
        rules.books.set_plan(position, Plan::new(&layer, name, quota));
        self
    }

    /// The name of the plan of a request's key. A name that no plan has stands for `default`. A key that changes
    /// its plan keeps what it has used.
    #[must_use]
    pub fn plan_of(mut self, rule: impl Fn(&Parts) -> &str + Send + Sync + 'static) -> Self {
        self.edit().plan_of = Some(Arc::new(rule));
        self
    }

    /// Which fields tell clients about their quota, in each response and rejection.
    #[must_use]
    pub fn fields(mut self, fields: RateLimitFields) -> Self {
        self.edit().fields = fields;
        self
    }

    /// A soft quota: requests beyond it run, with this priority unless theirs is lower. A limit inside then
    /// rejects them first when there is too much to do. For a hard one above it, add another layer outside.
    ///
    /// ```
    /// use tower::ServiceBuilder;
    /// use tower_backpressure::{AdmissionLayer, Priority, Quota};
    /// use tower_backpressure::server::{ByTenant, QuotaLayer};
    ///
    /// let layers = ServiceBuilder::new()
    ///     .layer(QuotaLayer::per("hard", ByTenant, Quota::per_second(100)))
    ///     .layer(QuotaLayer::per("soft", ByTenant, Quota::per_second(20)).soft(Priority::Sheddable))
    ///     .layer(AdmissionLayer::adaptive("api"));
    /// # let _ = layers;
    /// ```
    #[must_use]
    pub fn soft(mut self, priority: Priority) -> Self {
        self.edit().soft = Some(priority);
        self
    }

    /// Says from the head of a response what its request has cost; `None` leaves it at what was reserved.
    ///
    /// ```
    /// use tower_backpressure::Quota;
    /// use tower_backpressure::server::{ByTenant, QuotaLayer};
    ///
    /// let layer = QuotaLayer::per("tokens", ByTenant, Quota::per_minute(100_000))
    ///     .cost(|_| 2_000)
    ///     .settle(|head| head.headers.get("x-tokens-used")?.to_str().ok()?.parse().ok());
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn settle(
        mut self,
        rule: impl Fn(&response::Parts) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.edit().settle = Some(Arc::new(rule));
        self
    }

    /// Puts a [`Reservation`] into the extensions of each request, with which a handler says what it has cost. It
    /// costs two allocations a request.
    #[must_use]
    pub fn expose_reservation(mut self, expose: bool) -> Self {
        self.edit().exposes_reservation = expose;
        self
    }

    /// How many keys are kept; see [bounds](Self#bounds).
    ///
    /// # Panics
    /// When `max_keys` is not in 1..=100 000 000.
    #[must_use]
    pub fn max_keys(self, max_keys: usize) -> Self {
        Rules::check_max_keys(max_keys).unwrap_or_else(|error| panic!("{error}"));
        self.rules.books.set_max_keys(max_keys);
        self
    }

    /// Shares the quota of each key with other replicas, whose layers have the same name, quota and store.
    ///
    /// No request waits for the store. Each replica holds a lease: tokens that the store has debited for it, which
    /// requests take without a round trip. Leases are renewed in the background, and follow the rate of a key. A
    /// request that finds none may overdraw it by a lease, which the store debits next. So all replicas together admit
    /// at most the quota and one lease each. The store decides for all keys by its own clock.
    ///
    /// While the store cannot be asked, tokens that are held are used, and the rest is decided by
    /// [`SharedQuota::on_failure`]. Requests at once are counted in each replica, and [`Quota::smooth`] has no effect.
    ///
    /// The store's key of a tenant is that of [`ByTenant`] and [`Tenant::new`](crate::Tenant::new) only if all replicas
    /// are built by one version of Rust; with any other key, it does not matter.
    ///
    /// # Panics
    /// When it is shared already.
    #[must_use]
    pub fn shared(self, shared: SharedQuota) -> Self {
        let telemetry = self.rules.quota_telemetry.clone();
        self.rules.books.share(self.handle.name(), shared, telemetry);
        self
    }

    fn edit(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = WithQuota<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithQuota::new(inner, Arc::clone(&self.rules))
    }
}
