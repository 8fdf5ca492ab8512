//! The promises of the retry layer.

#![expect(clippy::unwrap_used, reason = "helpers of tests are outside what clippy takes for tests")]

mod bad_servers;
mod bodies;
mod budget;
mod combinations;
mod conformance;
mod deadline;
mod drained_responses;
mod early_rejections;
mod gave_up;
mod grpc;
mod herd;
mod memory_server;
#[cfg(feature = "metrics")]
mod metrics;
mod nested;
mod never_early;
#[cfg(feature = "hyper")]
mod other_connections;
mod over_http2;
mod over_hyper;
#[cfg(feature = "reqwest")]
mod over_nginx;
#[cfg(feature = "reqwest")]
mod over_reqwest;
mod over_tonic;
mod policy;
mod random_responses;
#[cfg(feature = "reqwest")]
mod redirections;
mod retryable;
mod service_contract;
mod socket_server;
mod spawned;
mod troubled;
mod unsent;
mod waits;
