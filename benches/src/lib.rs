//! What the layers cost, beside nothing at all and beside others.
//!
//! The measurements are the bench targets; here is what they have in common. All of them compare
//! within one process and in turns, so that whatever else the machine does falls on everybody.

#![forbid(unsafe_code)]

pub mod contenders;
pub mod drive;
pub mod floor;
pub mod rounds;
pub mod served;
