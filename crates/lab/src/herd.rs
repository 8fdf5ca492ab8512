//! The herd: ten thousand refused at once, and how they get in.

mod fate;
mod page;
