//! What the retry layer promises.

#![expect(clippy::unwrap_used, reason = "helpers of tests are outside what clippy takes for tests")]

mod any_server;
mod budget;
mod contract;
mod far_end;
#[cfg(feature = "metrics")]
mod metrics;
mod near_end;
mod over_hyper;
#[cfg(feature = "reqwest")]
mod over_reqwest;
mod what;
mod when;
