//! Attempts that are held until their turn comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How many attempts are held, and for how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Hold {
    pub(in crate::client) max_held: usize,
    pub(in crate::client) max_wait: Duration,
}

/// The attempts of one origin that are held.
#[derive(Debug, Default)]
pub struct Held {
    count: AtomicUsize,
    notify: Arc<Notify>,
}

impl Held {
    pub(in crate::client) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Lets this many of them ask again, the longest held first.
    pub(in crate::client) fn wake(&self, count: usize) {
        (0..count).for_each(|_| self.notify.notify_one());
    }

    pub(in crate::client) fn wake_all(&self) {
        self.notify.notify_waiters();
    }

    /// Ready when this attempt may ask again.
    pub(super) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }

    pub(super) fn enter(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
