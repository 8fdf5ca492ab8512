//! Quotas of [`tower_backpressure`] that replicas share through Redis or Valkey.
//!
//! ```no_run
//! use backpressure_redis::RedisStore;
//! use tower_backpressure::Quota;
//! use tower_backpressure::server::{ByTenant, QuotaLayer, SharedQuota};
//!
//! # fn main() -> Result<(), redis::RedisError> {
//! let store = RedisStore::open("redis://127.0.0.1/")?;
//! let layer = QuotaLayer::per("tenants", ByTenant, Quota::per_second(100))
//!     .shared(SharedQuota::new(store));
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! A tenant is one hash in Redis, which one Lua script reads and writes, by the clock of the server. It needs no
//! module, works with Redis 5 and later, Valkey, and services that allow scripts, and costs a round trip for each lease
//! and not for each request. Keys expire when their buckets are full.
//!
//! The connection is made in the background, and again when it is lost or does not answer. What happens meanwhile is the
//! choice of [`SharedQuota::on_failure`](tower_backpressure::server::SharedQuota::on_failure). If Redis loses its
//! data, all buckets are full again.
//!
//! A user of Redis needs these rights and no others (`ACL SETUSER`, Redis 6 and later):
//!
//! ```text
//! user quotas on >secret ~backpressure:quota:* resetchannels -@all +evalsha +eval +time +hmget +hset +hgetall +hdel +pexpire
//! ```
//!
//! After a failover that sentinels have made, the master that they name is asked, which knows what its predecessor had
//! replicated to it. In a cluster, a node that is gone takes its tenants with it until a replica of it is promoted; the others go on.
//!
//! This crate does not retry, has no pool, and keeps no quota by itself: the leases are in `tower_backpressure`.
//!
//! # Features
//! | feature | adds |
//! |---|---|
//! | `cluster` | `RedisStore::cluster` |
//! | `sentinel` | `RedisStore::sentinel` |
//! | `rustls` | TLS, for URLs that begin with `rediss`; roots of the system, or those of a `Client` built with certificates |
//!
//! rustls needs a provider of cryptography. The one that the process has installed is used; where there is none at the first
//! connection, `ring` is installed.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod connect;
mod link;
mod store;

pub use crate::store::RedisStore;
