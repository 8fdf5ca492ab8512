//! Tower layers that close the backpressure loop over HTTP.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod client;
mod retry_after;

pub use crate::client::{Attempts, Retry, RetryBudget, RetryLayer};
pub use crate::retry_after::RetryAfter;
