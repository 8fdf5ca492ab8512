//! What all services of one quota layer share: how a request is told, and what happens to it.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{OutOfRange, Priority, Quota, Reason, Shed};
use bytes::Bytes;
use http::request::{self, Parts};
use http::{Request, Response, StatusCode, response};

use super::books::Books;
use super::key::{ByTenant, ExtractKey, QuotaKey};
use super::plan::Plan;
use super::subject::Subject;
use super::table::{Table, TakenFrom};
use super::telemetry::QuotaTelemetry;
use crate::admission::drain::Drains;
use crate::admission::rejection::Rejection;
use crate::admission::switches::Switches;
use crate::headers::rate_limit_fields::RateLimitFields;
use crate::observe::Telemetry;
use crate::request_info::{RequestInfo, Tenant};

/// What happens to a request of which the tenant is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownTenant {
    /// All of them share one quota, by the default plan: the default. A caller cannot escape its quota by hiding its
    /// name, and callers without a name still get something.
    #[default]
    Shared,
    /// It is rejected.
    Reject,
    /// It is not limited.
    Exempt,
}

/// What all services of one layer share.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(super) books: Arc<Books>,
    key: Arc<dyn ExtractKey>,
    /// Whether that is [`ByTenant`], which needs no head.
    is_by_tenant: bool,
    pub(super) unknown: UnknownTenant,
    pub(super) cost: Option<Arc<Cost>>,
    pub(super) plan_of: Option<Arc<PlanOf>>,
    /// The plans of single tenants; the others have the default one.
    pub(super) tenants: Option<Arc<HashMap<Tenant, Box<str>>>>,
    /// The names of the plans, in the order of the table.
    pub(super) plans: Vec<Box<str>>,
    pub(super) fields: RateLimitFields,
    pub(super) soft: Option<Priority>,
    pub(super) exposes_reservation: bool,
    pub(super) settle: Option<Arc<Settle>>,
    pub(super) rejection: Rejection,
    pub(super) telemetry: Telemetry,
    pub(super) quota_telemetry: QuotaTelemetry,
    pub(super) switches: Switches,
    pub(super) drains: Drains,
}

pub(super) type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;
pub(super) type PlanOf = dyn Fn(&Parts) -> &str + Send + Sync;
pub(super) type Settle = dyn Fn(&response::Parts) -> Option<u64> + Send + Sync;

/// When an unknown tenant is told to come back where it is rejected: it will not be known sooner.
const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The most keys there can be: their positions have 32 bits, in 128 shards.
const MOST_KEYS: usize = 100_000_000;
/// The name of the plan that the layer is made with.
pub(super) const DEFAULT_PLAN: &str = "default";

/// What one request asks for.
#[derive(Clone, Copy)]
pub(super) enum Asks {
    For(Subject),
    /// Nothing: it is not limited.
    Nothing,
    /// It is rejected, whatever is left.
    Refused(Shed),
}

impl Rules {
    #[cfg(feature = "policy")]
    pub(crate) const DEFAULT_PLAN: &str = DEFAULT_PLAN;

    pub(super) fn new<K: ExtractKey>(name: &str, key: K, quota: Quota, max_keys: usize) -> Self {
        let table = Table::new(Plan::new(name, DEFAULT_PLAN, quota), max_keys);
        Self {
            books: Arc::new(Books::new(table)),
            key: Arc::new(key),
            is_by_tenant: TypeId::of::<K>() == TypeId::of::<ByTenant>(),
            unknown: UnknownTenant::default(),
            cost: None,
            plan_of: None,
            tenants: None,
            plans: vec![DEFAULT_PLAN.into()],
            fields: RateLimitFields::default(),
            soft: None,
            exposes_reservation: false,
            settle: None,
            rejection: Self::rejection(),
            telemetry: Telemetry::new(name),
            quota_telemetry: QuotaTelemetry::new(name),
            switches: Switches::default(),
            drains: Drains::default(),
        }
    }

    pub(crate) fn check_max_keys(max_keys: usize) -> Result<(), OutOfRange> {
        OutOfRange::check("max_keys", max_keys, 1, MOST_KEYS)
    }

    /// The response beyond the quota, unless something else renders it.
    pub(super) fn rejection() -> Rejection {
        Rejection::new(StatusCode::TOO_MANY_REQUESTS)
    }

    #[cfg(feature = "policy")]
    pub(super) fn set_key<K: ExtractKey>(&mut self, key: K) {
        self.key = Arc::new(key);
        self.is_by_tenant = TypeId::of::<K>() == TypeId::of::<ByTenant>();
    }

    /// What this request uses. `Parts` cannot borrow, so the head moves out and back where a rule reads it.
    pub(super) fn read<B>(&self, request: Request<B>) -> (Request<B>, Asks) {
        let has_one_plan = self.plan_of.is_none() && self.tenants.is_none();
        if self.is_by_tenant && self.cost.is_none() && has_one_plan {
            let info = RequestInfo::of(request.extensions());
            let asks = self.subject(info.tenant.map(QuotaKey::from), 0, cost_of(info));
            return (request, asks);
        }
        let (parts, body) = request.into_parts();
        let key = self.key.extract(&parts);
        let plan = self.plan(&parts);
        let cost = match &self.cost {
            Some(cost) => cost(&parts),
            None => cost_of(RequestInfo::of(&parts.extensions)),
        };
        (Request::from_parts(parts, body), self.subject(key, plan, cost))
    }

    fn subject(&self, key: Option<QuotaKey>, plan: u32, cost: u64) -> Asks {
        let (key, plan) = match (key, self.unknown) {
            (Some(key), _) => (key, plan),
            (None, UnknownTenant::Shared) => (QuotaKey::unknown(), 0),
            (None, UnknownTenant::Exempt) => return Asks::Nothing,
            (None, UnknownTenant::Reject) => {
                return Asks::Refused(Shed::new(Reason::Quota, UNKNOWN_RETRY_AFTER));
            }
        };
        let (slot, taken_from) = (self.books.table.slot(&key), TakenFrom::default());
        Asks::For(Subject { key, slot, plan, cost, taken_from })
    }

    fn plan(&self, head: &Parts) -> u32 {
        if let Some(plan_of) = &self.plan_of {
            return self.position(plan_of(head));
        }
        let Some(tenants) = &self.tenants else { return 0 };
        let tenant = RequestInfo::of(&head.extensions).tenant;
        let plan = tenant.and_then(|tenant| tenants.get(&tenant));
        self.position(plan.map_or(DEFAULT_PLAN, |plan| &**plan))
    }

    /// A plan that does not exist is the default one.
    fn position(&self, plan: &str) -> u32 {
        let position = self.plans.iter().position(|name| **name == *plan);
        position.and_then(|position| u32::try_from(position).ok()).unwrap_or(0)
    }

    pub(super) fn with_render(
        &mut self,
        render: impl Fn(&request::Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        self.rejection = self.rejection.with_render(render);
    }
}

/// A request costs as many tokens as it takes units of a limit, unless a rule says otherwise.
fn cost_of(info: RequestInfo) -> u64 {
    info.cost.max(1).into()
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("plans", &self.plans)
            .field("unknown", &self.unknown)
            .field("fields", &self.fields)
            .field("soft", &self.soft)
            .field("telemetry", &self.telemetry)
            .field("switches", &self.switches)
            .finish_non_exhaustive()
    }
}
