//! The primitives the gate stands on: those of std, or loom's when the gate is model-checked.

#[cfg(not(gate_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(gate_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
