//! What the retry layer promises.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are outside what clippy takes for tests"
)]

mod far_end;
mod in_memory;
mod over_hyper;
#[cfg(feature = "reqwest")]
mod over_reqwest;
