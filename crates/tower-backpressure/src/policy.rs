//! All layers from one TOML file, which is checked as a whole and reloaded while requests run.
//!
//! A file names layers, and says which of them a request meets: by path, method, host, tenant and priority. What is
//! built is what the builders build; the file has their options, ranges and defaults.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_backpressure::policy::PolicySet;
//!
//! let policies = PolicySet::parse(r#"
//!     [admission.api]
//!     limit = "adaptive"
//!     min = 4
//!
//!     [bulkhead.reports]
//!     limit = 8
//!
//!     [quota.tenants]
//!     window = [{ rate = "10/s", burst = 20 }, { rate = "1000 per day" }]
//!
//!     [[policy]]
//!     name = "health"
//!     match = { path = "/healthz" }
//!
//!     [[policy]]
//!     name = "reports"
//!     match = { path = "/reports/{*rest}", method = ["GET", "POST"] }
//!     admission = "api"
//!     bulkhead = "reports"
//!
//!     [default]
//!     quota = "tenants"
//!     admission = "api"
//! "#)?;
//! let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(policies);
//! # Ok::<(), tower_backpressure::policy::PolicyError>(())
//! ```
//!
//! It does not read priority, deadline or tenant of a request: put a
//! [`RequestInfoLayer`](crate::RequestInfoLayer) outside. It reads no environment variables. Quotas that replicas share
//! need a store, which no file can name: add it with [`PolicyLoader::shared_quota`].

mod build;
mod canary;
mod choose;
mod client;
mod error;
mod event;
mod explain;
mod file;
mod format;
mod hooks;
mod listing;
mod loader;
mod outbox;
mod reload;
mod sample;
mod scale;
mod schema;
mod service;
mod set;
mod snapshot;
mod source;
mod stage;
mod version;
mod watch;

pub use self::canary::CanaryStatus;
pub use self::client::{PolicyClientLayer, WithPolicyClient};
pub use self::error::{PolicyError, Problem};
pub use self::event::PolicyEvent;
pub use self::explain::Explanation;
pub use self::listing::Change;
pub use self::loader::PolicyLoader;
pub use self::service::{PolicyBody, PolicyFuture, WithPolicies};
pub use self::set::PolicySet;
pub use self::watch::PolicyWatch;
