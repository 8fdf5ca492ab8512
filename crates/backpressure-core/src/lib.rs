//! The decisions of overload control, and nothing else.
//!
//! Time is an argument, answers are values, state is `&mut self`: no clock, no lock, no runtime,
//! no protocol. `backpressure-gate` adds the waiting, `tower-backpressure` the HTTP.

#![forbid(unsafe_code)]

mod ages;
mod arrival;
mod bounds;
mod capacity;
mod decision;
mod flood;
pub mod limit;
mod machine;
mod out_of_range;
mod outcome;
mod pressure;
mod priority;
mod queue;
mod rank;
mod sample;
mod schedule;
mod shed;
mod stall;
mod time;
mod turnover;
mod usual;
mod vacancy;
mod verdict;

pub use crate::ages::Ages;
pub use crate::arrival::Arrival;
pub use crate::bounds::QueueBounds;
pub use crate::decision::{Cause, Decision};
pub use crate::limit::{
    Limit, Metering, adaptive::Adaptive, adaptive::remote::Remote, aimd::Aimd, fixed::Fixed,
};
pub use crate::machine::Machine;
pub use crate::out_of_range::OutOfRange;
pub use crate::outcome::Outcome;
pub use crate::priority::Priority;
pub use crate::queue::Ticket;
pub use crate::sample::Sample;
pub use crate::shed::{Reason, Shed};
pub use crate::time::Timestamp;
pub use crate::verdict::{Next, Verdict};
