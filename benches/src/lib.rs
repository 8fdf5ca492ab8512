//! The cost of the layers, compared with no layer and with the layers of others.
//!
//! The measurements are the bench targets; this library has the parts that they share. Each compares its
//! contenders in one process and in turns, so that other load on the machine affects all of them.

#![forbid(unsafe_code)]

pub mod clients;
pub mod contenders;
#[cfg(feature = "count")]
pub mod count;
pub mod drive;
pub mod floor;
pub mod rounds;
pub mod served;
