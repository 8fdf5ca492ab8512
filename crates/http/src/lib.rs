//! Tower layers that close the backpressure loop over HTTP.
//!
//! A server measures what it can do ([`AdmissionLayer::adaptive`]), keeps compartments
//! ([`BulkheadLayer`]), and refuses the rest early, saying when to come back.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `metrics` | counters, gauges and histograms through the `metrics` facade |
//! | `tracing` | an event when shedding starts and one when it stops |
//! | `reqwest` | the retry layer over `reqwest::Client` |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod body;
mod bulkhead;
mod classify;
mod deadline;
mod held;
mod observe;
mod rejection;

pub use backpressure_gate::{
    Adaptive, Fixed, Gate, Limit, Priority, QueueBounds, Reason, Shed, Snapshot,
};

pub use crate::admission::{Admission, AdmissionLayer, PermitScope, ResponseFuture};
pub use crate::body::ResponseBody;
pub use crate::bulkhead::BulkheadLayer;
pub use crate::deadline::Deadline;
pub use crate::rejection::SHED_REASON;
