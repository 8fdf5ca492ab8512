//! The decisions of overload control, and nothing else.
//!
//! [`Controller`] decides for each request whether it runs, is queued or is rejected, and when a rejected
//! one should come back. A [`Limit`] decides how many may run at once. For clients, [`Cooldown`], [`Throttle`]
//! and [`Breaker`] decide whether a request is sent at all. A [`Quota`] decides how much one tenant may use.
//!
//! ```
//! use backpressure_core::{Adaptive, Controller, Decision, QueueBounds, RequestInfo, Timestamp};
//!
//! let workers = 4;
//! let mut controller = Controller::new(Box::new(Adaptive::new(workers)), QueueBounds::default());
//! let (in_flight, now) = (0, Timestamp::ZERO);
//! assert_eq!(controller.arrive(RequestInfo::default(), in_flight, now), Decision::Run);
//! ```
//!
//! Time is an argument, answers are values, state is `&mut self`: there is no clock, lock, runtime or
//! protocol in this crate. `tower-backpressure` adds them.

#![forbid(unsafe_code)]

mod ages;
mod bounds;
mod breaker;
mod controller;
mod cooldown;
mod decision;
mod early_leavers;
mod ewma;
mod fair_shares;
mod flood_detector;
mod flow;
mod handler_window;
mod hold;
mod idle_window;
mod latency_estimate;
pub mod limit;
mod limit_change;
mod out_of_range;
mod outcome;
mod overload_detector;
mod priority;
mod queue;
mod quota;
mod ramp;
mod rank;
mod release_rate;
mod request_info;
mod reserved_shares;
mod retry_budget;
mod sample;
mod schedule;
mod shed;
mod stall_detector;
mod throttle;
mod throughput;
mod time;

pub use crate::ages::Ages;
pub use crate::bounds::QueueBounds;
pub use crate::breaker::{Breaker, BreakerDecision, BreakerSettings, BreakerState, CallEnding};
pub use crate::controller::{Controller, Mode};
pub use crate::cooldown::{Cooldown, CooldownDecision, CooldownState, Ending, Others, Told};
pub use crate::decision::{Decision, Dequeued};
pub use crate::handler_window::{Backlog, HandlerWindow};
pub use crate::hold::Hold;
#[doc(inline)]
pub use crate::limit::{
    Limit, Metering, adaptive::Adaptive, adaptive::client_limit::ClientLimit, aimd::Aimd,
    fixed::Fixed,
};
pub use crate::limit_change::{Cause, LimitChange};
pub use crate::out_of_range::OutOfRange;
pub use crate::outcome::Outcome;
pub use crate::priority::Priority;
pub use crate::queue::Ticket;
pub use crate::quota::{
    Claim, Grant, InvalidQuota, Lease, LeaseDecision, LeaseSettings, MAX_TOKENS, MAX_WINDOWS,
    Quota, QuotaDecision, QuotaRejection, QuotaUsage, QuotaWindow, Standing, TakenTokens, Violated,
};
pub use crate::ramp::Pass;
pub use crate::request_info::RequestInfo;
pub use crate::retry_budget::{Charge, RetryBudget};
pub use crate::sample::Sample;
pub use crate::shed::{Reason, Shed};
pub use crate::throttle::{Throttle, ThrottleSettings};
pub use crate::time::Timestamp;
