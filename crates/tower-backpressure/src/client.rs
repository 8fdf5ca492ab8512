//! Layers for HTTP clients: retries, cool-downs, a limit for each origin, and a circuit breaker.
//!
//! [`backpressure_client`] puts all of them around a client, in the recommended order:
//!
//! ```
//! # #[cfg(feature = "reqwest")] {
//! use tower_backpressure::client::backpressure_client;
//!
//! // Without reqwest's own retries, each of which would be one more attempt on the wire.
//! let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build();
//! let client = backpressure_client("payments-api", reqwest.expect("the options are valid"));
//! # let _ = client;
//! # }
//! ```
//!
//! | layer | goal |
//! |---|---|
//! | [`RetryLayer`] | repeats a request when the server says so, within a [`RetryBudget`] and a deadline |
//! | [`CooldownLayer`] | what one caller was told quiets all callers of that origin |
//! | [`OriginLimitLayer`] | keeps no more requests in flight to a server than the server can use |
//! | [`BreakerLayer`] | sends nothing to an origin that does no useful work |
//! | [`ThrottleLayer`] | rejects in the client a share of what the origin would reject anyway |
//! | [`AttemptTimeoutLayer`] | ends an attempt without a response, and tells the server the time that it has |
//!
//! A service in the middle of a chain passes on what it knows of a request with
//! [`RequestInfo::carry_to`](crate::RequestInfo::carry_to). [`DependencyLayer`] and [`Unavailable`] turn what the client knows
//! of an origin into the service's own answers.
//!
//! Each layer also works alone. [`RetryBudget`] and [`RetryAfter`](crate::RetryAfter) work in a client with a
//! retry loop of its own.

mod attempt_timeout;
mod attempts;
mod breaker;
mod budget;
mod carry;
mod classify;
mod connection;
mod cooldown;
mod cooldown_marks;
mod deadline_exceeded;
mod dependency;
mod expiry;
mod gave_up;
#[cfg(feature = "reqwest")]
mod http_types;
mod idempotency_key;
mod jitter;
mod not_begun;
mod origin_key;
mod origin_limit;
mod origin_map;
mod replay;
mod retry;
mod stack;
mod supervised;
mod telemetry;
mod throttle;
mod timeout_field;
pub(crate) mod valid;

#[cfg(feature = "reqwest")]
pub use self::attempt_timeout::AttemptTimeoutReqwestFuture;
pub use self::attempt_timeout::{
    AttemptTimeout, AttemptTimeoutFuture, AttemptTimeoutLayer, TimedOut,
};
pub use self::attempts::Attempts;
pub use self::breaker::{Breaker, BreakerLayer, BreakerPhase, BreakerSnapshot};
pub use self::budget::{BudgetSnapshot, RetryBudget, Spent, Withdrawal};
pub use self::classify::{AttemptOutcome, RetryDecision};
pub use self::cooldown::{Cooldown, CooldownLayer, CooldownPhase, CooldownSnapshot};
pub use self::dependency::{Dependency, DependencyFuture, DependencyLayer, Unavailable};
pub use self::gave_up::{GaveUp, GiveUpReason};
#[cfg(feature = "reqwest")]
pub use self::origin_limit::ReqwestFuture;
pub use self::origin_limit::{OriginLimit, OriginLimitLayer};
pub use self::replay::{
    Buffered, ByClone, KeepForRetry, Rebuilt, Replay, ReplayBody, RequestHead, ResponseHead,
    RetryBody,
};
pub use self::retry::{LongRetryAfter, ResponseFuture, Retry, RetryLayer};
pub use self::stack::{BackpressureClient, ClientStack, backpressure_client};
#[cfg(feature = "reqwest")]
pub use self::supervised::SupervisedReqwestFuture;
pub use self::supervised::{Supervised, SupervisedFuture};
pub use self::throttle::{Throttle, ThrottleLayer};
pub use crate::headers::attempts::PREVIOUS_ATTEMPTS;
pub use crate::headers::retry_after_scope::RETRY_AFTER_SCOPE;
