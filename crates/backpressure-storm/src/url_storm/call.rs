//! A call by a client, and what its attempts know of each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// A call, which may have several attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call(Arc<CallState>);

#[derive(Debug, Default)]
struct CallState {
    refused: Mutex<Option<(Instant, Duration)>>,
    /// Bytes of the last response, its head counted as one.
    received: AtomicUsize,
}

impl Call {
    /// When the last refusal arrived, and what it told.
    pub(super) fn last_refusal(&self) -> MutexGuard<'_, Option<(Instant, Duration)>> {
        self.0.refused.lock().expect("no thread panics while it notes")
    }

    /// Notes that the response has this many bytes so far.
    pub(crate) fn receive(&self, bytes: usize) {
        self.0.received.store(bytes + 1, Ordering::Relaxed);
    }

    /// Bytes of the body so far; `None` before the head of a response.
    pub(crate) fn received(&self) -> Option<usize> {
        self.0.received.load(Ordering::Relaxed).checked_sub(1)
    }
}
