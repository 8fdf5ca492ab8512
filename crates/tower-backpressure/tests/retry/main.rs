//! The promises of the retry layer.

#![expect(clippy::unwrap_used, reason = "helpers of tests are outside what clippy takes for tests")]

mod budget;
mod memory_server;
#[cfg(feature = "metrics")]
mod metrics;
mod over_hyper;
#[cfg(feature = "reqwest")]
mod over_reqwest;
mod random_responses;
mod retryable;
mod service_contract;
mod socket_server;
mod waits;
