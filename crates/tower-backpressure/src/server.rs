//! Layers for servers: adaptive admission, bulkheads, quotas, and what they are told of requests.
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use tower_backpressure::{AdmissionLayer, BulkheadLayer, RequestInfoLayer};
//!
//! let app: Router = Router::new()
//!     .route("/checkout", post(|| async { "paid" }).layer(BulkheadLayer::new("payments", 10)))
//!     .route("/search", get(|| async { "found" }))
//!     .layer(AdmissionLayer::adaptive("api"))
//!     .layer(RequestInfoLayer::from_headers()); // in axum the last one is the outermost
//! ```
//!
//! | layer | goal |
//! |---|---|
//! | [`AdmissionLayer`] | runs as many requests at once as the service can use, and rejects the others |
//! | [`BulkheadLayer`], [`BulkheadSet`] | keep a slow dependency from occupying the whole service |
//! | [`QueueLayer`] | runs jobs by a few workers behind a queue of constant depth |
//! | [`QuotaLayer`] | gives each tenant a number of requests or tokens in a time |
//! | [`RequestInfoLayer`] | reads priority and deadline from headers; goes outside the others |
//! | [`FallbackLayer`] | hands what would be rejected to another service |
//!
//! [`Handle`] observes and operates a layer while it runs.

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
