//! Test support for the promises of the workspace, which stand in `tests/`.
//!
//! Servers and clients on real sockets, a service under load in virtual time, bodies with scripted
//! frames, and recorders for metrics and samples.

pub mod client;
pub mod load;
pub mod memory_store;
pub mod raw_http1;
pub mod recorded_metrics;
pub mod recording_limit;
pub mod scripted_body;
pub mod seed;
pub mod server;

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The programs in the documentation of metrics compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/metrics.md")]
mod metrics {}

/// The guide's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
mod guide {}

/// The programs in the documentation of quotas compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/quotas.md")]
mod quotas {}

/// The programs in the documentation of the policy file compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/policy.md")]
mod policy {}
