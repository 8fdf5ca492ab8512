//! Admission for any tokio program.
//!
//! [`Gate`] holds the machine of `backpressure-core`, those who wait and their wakers. It knows
//! nothing of HTTP; `tower-backpressure` builds the layers on it.

#![forbid(unsafe_code)]

mod activity;
mod count;
mod desk;
mod door;
mod enter;
mod gate;
mod hall;
mod meter;
mod permit;
mod place;
mod stride;
mod sync;

pub use backpressure_core::{
    Adaptive, Arrival, Cause, Decision, Fixed, Limit, Metering, OutOfRange, Outcome, Priority,
    QueueBounds, Reason, Remote, Sample, Shed, Timestamp,
};

pub use crate::enter::{Asked, Enter};
pub use crate::gate::{Gate, Snapshot};
pub use crate::permit::Permit;
pub use crate::place::Place;
