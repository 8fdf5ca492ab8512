//! Synchronisation primitives: those of std, or loom's when the limiter is model-checked.

#[cfg(not(limiter_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(limiter_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
