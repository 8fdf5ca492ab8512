//! Tower layers that close the backpressure loop over HTTP.
//!
//! A server measures what it can do ([`AdmissionLayer::adaptive`]), keeps compartments
//! ([`BulkheadLayer`]), and refuses the rest early, saying when to come back. A client comes back
//! when it was told to, within a budget and a deadline ([`RetryLayer`]), and sends no server more than
//! it can use ([`OriginLimitLayer`]).
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `metrics` | counters, gauges and histograms through the `metrics` facade |
//! | `tracing` | an event when shedding starts, when it stops, and for each retry |
//! | `reqwest` | [`RetryLayer`] and [`OriginLimitLayer`] over `reqwest::Client` |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod admission;
mod body;
mod bulkhead;
mod classify;
pub mod client;
mod content_length;
mod deadline;
mod drain;
mod held;
mod marker;
mod observe;
mod rejection;
mod retry_after;
mod switches;
mod trial;

pub use backpressure_gate::{
    Adaptive, Cause, Decision, Fixed, Gate, Limit, Metering, OutOfRange, Outcome, Priority,
    QueueBounds, Reason, Remote, Sample, Shed, Snapshot, Timestamp,
};

pub use crate::admission::{Admission, AdmissionLayer, PermitScope};
pub use crate::body::ResponseBody;
pub use crate::bulkhead::BulkheadLayer;
pub use crate::client::{Attempts, OriginLimit, OriginLimitLayer, Retry, RetryBudget, RetryLayer};
pub use crate::deadline::Deadline;
pub use crate::marker::{Refused, SHED_REASON};
pub use crate::rejection::RETURN_TICKET;
pub use crate::retry_after::RetryAfter;
