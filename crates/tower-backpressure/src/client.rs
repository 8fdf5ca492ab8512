//! Layers for HTTP clients: retries within a budget, and a concurrency limit for each origin.
//!
//! [`RetryLayer`] repeats a request when the server says so, within a [`RetryBudget`] and a deadline.
//! [`OriginLimitLayer`], inside it, keeps no more requests in flight to a server than the server can
//! use. [`RetryBudget`] and [`RetryAfter`](crate::RetryAfter) also work alone, in a client with a retry
//! loop of its own.
//!
//! [`RetryLayer::policy`] takes a rule of your own, and [`GaveUp`] tells why a failure was not retried.
//!
//! With `reqwest`, switch off the client's own retries. Otherwise each attempt counted here may be up to
//! three attempts on the wire:
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
mod idempotency_key;
mod jitter;
mod not_begun;
mod origin_limit;
mod replay;
mod retry;
mod telemetry;

pub use self::attempts::{Attempts, PREVIOUS_ATTEMPTS};
pub use self::budget::{BudgetSnapshot, RetryBudget, Spent, Withdrawal};
pub use self::classify::{AttemptOutcome, RetryDecision};
#[cfg(feature = "reqwest")]
pub use self::origin_limit::ReqwestFuture;
pub use self::origin_limit::{OriginLimit, OriginLimitLayer};
pub use self::replay::{
    Buffered, ByClone, KeepForRetry, Rebuilt, Replay, ReplayBody, RequestHead, ResponseHead,
    RetryBody,
};
pub use self::retry::{GaveUp, GiveUpReason, LongRetryAfter, ResponseFuture, Retry, RetryLayer};
