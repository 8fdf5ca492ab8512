//! The suite: every controller in every scenario.

mod page;
