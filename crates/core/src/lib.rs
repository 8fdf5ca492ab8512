//! The decisions of overload control, and nothing else.
//!
//! Time is an argument, answers are values, state is `&mut self`: no clock, no lock, no runtime,
//! no protocol. `backpressure-gate` adds the waiting, `tower-backpressure` the HTTP.

#![forbid(unsafe_code)]

pub mod limit;
mod outcome;
mod priority;
mod sample;
mod shed;
mod time;

pub use crate::limit::{
    Limit, Metering, aimd::Aimd, fixed::Fixed, gradient2::Gradient2, vegas::Vegas,
    windowed::Windowed,
};
pub use crate::outcome::Outcome;
pub use crate::priority::Priority;
pub use crate::sample::Sample;
pub use crate::shed::{Reason, Shed};
pub use crate::time::Timestamp;
