//! Layers for servers: adaptive admission, bulkheads, and what they are told of requests.

mod admission;
mod bulkhead;
mod bulkhead_set;
mod compartments;
mod fallback;
mod handle;
mod options;
mod queue;
mod quota;
mod readiness;
mod request_info;

pub use self::admission::{Admission, AdmissionLayer};
pub use self::bulkhead::BulkheadLayer;
pub use self::bulkhead_set::{BulkheadSet, Compartment};
#[cfg(feature = "policy")]
pub(crate) use self::compartments::Select as CompartmentSelect;
pub use self::compartments::{CompartmentsLayer, WithCompartments};
pub use self::fallback::{FallbackFuture, FallbackLayer, WithFallback};
pub use self::handle::Handle;
pub use self::queue::QueueLayer;
#[cfg(feature = "policy")]
pub(crate) use self::quota::Rules as QuotaRules;
pub use self::quota::{
    ByHeader, ByTenant, ClientAddress, Exchange, ExchangeFuture, ExtractKey, OnStoreFailure,
    QuotaFuture, QuotaHandle, QuotaKey, QuotaLayer, QuotaStanding, QuotaStore, RateLimitFields,
    Reservation, SharedQuota, UnknownTenant, WithQuota,
};
pub use self::readiness::Readiness;
pub use self::request_info::{ExtractInfo, RequestInfoLayer, WithRequestInfo};
