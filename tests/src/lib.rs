//! Promises the workspace keeps, as tests over the whole stack.
//!
//! The promises stand in `tests/`; here is what they are tested with: servers and connections on
//! real sockets, and a body that does as it is told.

pub mod client;
pub mod load;
pub mod meters;
pub mod raw;
pub mod samples;
pub mod script;
pub mod seed;
pub mod server;

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The guide's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
mod guide {}
