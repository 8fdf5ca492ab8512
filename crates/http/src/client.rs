//! The client's half of the loop: hear what a server says about its load, and act on it.

mod budget;

pub use self::budget::{RetryBudget, Withdrawal};
