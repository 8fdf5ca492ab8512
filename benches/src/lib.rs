//! The cost of the layers, beside the bare service and beside other layers.
//!
//! The measurements are the bench targets; here is what they have in common. All of them compare
//! within one process and in turns, so that other load of the machine affects all contenders alike.

#![forbid(unsafe_code)]

pub mod contenders;
pub mod drive;
pub mod floor;
pub mod rounds;
pub mod served;
