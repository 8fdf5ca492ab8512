//! Shared quotas on a real redis-server, or valkey-server, which the tests start: replicas as processes, and
//! everything that can happen to a server and its network.
//!
//! They need `redis-server`, and run with `--ignored`. `QUOTA_SECONDS=60` makes the long run of them.

mod deployments;
mod exchanges;
mod failures;
mod proxy;
mod replica;
mod server;
mod states;
