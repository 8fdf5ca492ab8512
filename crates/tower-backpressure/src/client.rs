//! The client's half of the loop: hear what a server says about its load, and act on it.
//!
//! [`RetryLayer`] comes back when it was asked to, within a [`RetryBudget`]. [`OriginLimitLayer`], inside
//! it, has no more in flight to a server than the server can use. The budget and
//! [`RetryAfter`](crate::RetryAfter) are of use alone, to a client with a loop of its own.
//!
//! With `reqwest`, switch off what it retries by itself, or every attempt counted here is up to
//! three on the wire:
//!
//! ```
//! # #[cfg(feature = "reqwest")] {
//! use tower::ServiceBuilder;
//! use tower_backpressure::{OriginLimitLayer, RetryLayer};
//!
//! let reqwest = reqwest::Client::builder()
//!     .retry(reqwest::retry::never())
//!     .build()
//!     .expect("the options above are valid");
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::named("payments-api"))
//!     .layer(OriginLimitLayer::new("payments-api"))
//!     .service(reqwest);
//! # let _ = client;
//! # }
//! ```

mod attempts;
mod budget;
mod classify;
mod jitter;
mod not_begun;
mod origin_limit;
mod replay;
mod retry;
mod telemetry;

pub use self::attempts::Attempts;
pub use self::budget::{RetryBudget, Withdrawal};
#[cfg(feature = "reqwest")]
pub use self::origin_limit::ReqwestFuture;
pub use self::origin_limit::{OriginLimit, OriginLimitLayer};
pub use self::replay::{Replay, ResponseHead};
pub use self::retry::{ResponseFuture, Retry, RetryLayer};
