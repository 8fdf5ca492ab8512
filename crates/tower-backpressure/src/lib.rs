//! Overload control for HTTP services and their clients, as tower layers.
//!
//! A server measures how many requests it can serve at once, and rejects the others early with a `503` that says
//! in `Retry-After` when to come back:
//!
//! ```
//! # #[cfg(feature = "server")] {
//! use axum::{Router, routing::get};
//! use tower_backpressure::AdmissionLayer;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(AdmissionLayer::adaptive("api")); // needs no configuration
//! # }
//! ```
//!
//! A client comes back then and not before, within a budget of retries and a deadline:
//!
//! ```
//! # #[cfg(feature = "reqwest")] {
//! use tower_backpressure::backpressure_client;
//!
//! let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build();
//! let client = backpressure_client("api", reqwest.expect("the options are valid"));
//! # let _ = client;
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | protect a server | [`AdmissionLayer`] |
//! | keep a slow dependency from occupying it | [`BulkheadLayer`], [`BulkheadSet`] |
//! | bound what each tenant may use in a time | [`QuotaLayer`] |
//! | tell the layers the priority, deadline and tenant of a request | [`RequestInfoLayer`], [`RequestInfo`] |
//! | observe and operate a layer while it runs | [`Handle`], [`observe`] |
//! | protect a client and its servers | [`backpressure_client`], or the layers of [`client`] one by one |
//! | limit work that is not HTTP | [`Limiter`] |
//! | take all layers from a file | [`policy`] |
//!
//! The [guide](https://github.com/tower-backpressure/tower-backpressure/blob/main/docs/guide.md) has a page for each idea.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `server` | yes | the layers of [`server`] |
//! | `client` | yes | the layers of [`client`] |
//! | `hyper` | | what the errors of hyper-util, hyper and h2 say about a request |
//! | `reqwest` | | the client layers over `reqwest::Client` |
//! | `metrics` | | counters, gauges and histograms through the `metrics` facade |
//! | `opentelemetry` | | [`observe::OpenTelemetry`]: instruments, and attributes and events of a request's span |
//! | `policy` | | [`PolicySet`](policy::PolicySet): all layers from one file, which is reloaded while they run |
//! | `tracing` | | an event when shedding starts, when it stops, and for each retry; fields of a request's span |
//!
//! `http` is what `server` and `client` share, and comes with them. Without default features there is only the
//! [`Limiter`], which depends on tokio and no HTTP crate.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "server", feature = "client")),
    expect(dead_code, reason = "limiter and admission serve both ends; each uses a part of them")
)]

#[cfg(feature = "http")]
mod admission;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "http")]
mod deadline;
#[cfg(feature = "http")]
mod headers;
#[cfg(feature = "http")]
mod inner;
#[cfg(feature = "http")]
mod keyed_map;
mod limiter;
mod nanos;
#[cfg(feature = "http")]
pub mod observe;
#[cfg(feature = "policy")]
pub mod policy;
mod request_info;
#[cfg(feature = "server")]
pub mod server;
mod shared_ref;
mod stable_hash;

pub use backpressure_core::{
    Adaptive, Cause, Claim, ClientLimit, Fixed, Grant, Limit, LimitChange, Metering, Mode,
    OutOfRange, Outcome, Priority, QueueBounds, Quota, Reason, Sample, Shed, Timestamp,
};

#[cfg(feature = "http")]
pub use crate::admission::body::ResponseBody;
#[cfg(feature = "http")]
pub use crate::admission::permit_handle::{HeldPermit, PermitHandle};
#[cfg(feature = "http")]
pub use crate::admission::return_ticket::RETURN_TICKET;
#[cfg(feature = "http")]
pub use crate::admission::stream_rules::StreamPolicy;
#[cfg(feature = "http")]
pub use crate::admission::{Limited, PermitScope, ResponseFuture};
#[cfg(feature = "client")]
#[doc(inline)]
pub use crate::client::{
    Attempts, BreakerLayer, ClientStack, CooldownLayer, DependencyLayer, GaveUp, OriginLimit,
    OriginLimitLayer, Retry, RetryBudget, RetryDecision, RetryLayer, ThrottleLayer,
    backpressure_client,
};
#[cfg(feature = "http")]
pub use crate::deadline::Deadline;
#[cfg(any(feature = "server", feature = "client"))]
pub use crate::headers::attempts::PREVIOUS_ATTEMPTS;
#[cfg(feature = "server")]
pub use crate::headers::cost::REQUEST_COST;
#[cfg(any(feature = "server", feature = "client"))]
pub use crate::headers::criticality::CRITICALITY;
#[cfg(feature = "client")]
pub use crate::headers::retry_after::RetryAfter;
#[cfg(feature = "http")]
pub use crate::headers::shed_reason::{Rejected, SHED_REASON};
#[cfg(any(feature = "server", feature = "client"))]
pub use crate::headers::timeout::REQUEST_TIMEOUT;
pub use crate::limiter::{
    Acquire, Limiter, Permit, Pressure, Queueing, ResourceWatch, Snapshot, Watching, queued,
};
#[cfg(feature = "http")]
#[doc(inline)]
pub use crate::observe::{Event, Observer, Registry};
pub use crate::request_info::{RequestInfo, Task, Tenant};
#[cfg(feature = "server")]
#[doc(inline)]
pub use crate::server::{
    Admission, AdmissionLayer, BulkheadLayer, BulkheadSet, Compartment, FallbackLayer, Handle,
    QueueLayer, QuotaLayer, RequestInfoLayer,
};
