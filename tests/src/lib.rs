//! Test support for the promises of the workspace, which stand in `tests/`.
//!
//! Servers and clients on real sockets, a service under load in virtual time, bodies with scripted
//! frames, and recorders for metrics and samples.

pub mod client;
pub mod load;
pub mod memory_store;
pub mod own_process;
pub mod raw_http1;
pub mod reasons;
pub mod recorded_metrics;
pub mod recording_limit;
pub mod routes;
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
mod guide {
    #[doc = include_str!("../../docs/guide/bulkheads.md")]
    mod bulkheads {}
    #[doc = include_str!("../../docs/guide/chain.md")]
    mod chain {}
    #[doc = include_str!("../../docs/guide/client.md")]
    mod client {}
    #[doc = include_str!("../../docs/guide/degradation.md")]
    mod degradation {}
    #[doc = include_str!("../../docs/guide/grpc.md")]
    mod grpc {}
    #[doc = include_str!("../../docs/guide/layer-order.md")]
    mod layer_order {}
    #[doc = include_str!("../../docs/guide/migration.md")]
    mod migration {}
    #[doc = include_str!("../../docs/guide/priority.md")]
    mod priority {}
    #[doc = include_str!("../../docs/guide/rollout.md")]
    mod rollout {}
    #[doc = include_str!("../../docs/guide/server.md")]
    mod server {}
    #[doc = include_str!("../../docs/guide/testing.md")]
    mod testing {}
    #[doc = include_str!("../../docs/guide/troubleshooting.md")]
    mod troubleshooting {}
    #[doc = include_str!("../../docs/guide/workers.md")]
    mod workers {}
}

/// The programs in the documentation of quotas compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/quotas.md")]
mod quotas {}

/// The programs in the documentation of the policy file compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/policy.md")]
mod policy {}

/// The programs in the documentation of the dashboard compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/dashboard.md")]
mod dashboard {}
