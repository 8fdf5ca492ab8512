//! What the retry layer promises.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are outside what clippy takes for tests"
)]

mod any_server;
mod far_end;
mod in_memory;
#[cfg(feature = "metrics")]
mod metrics;
mod over_hyper;
#[cfg(feature = "reqwest")]
mod over_reqwest;
