//! Which layers stand around which: seen on requests that are followed, while the registry is watched.
//!
//! While the service inside a layer is polled on behalf of such a request, the thread knows the layer. A layer that
//! decides on a request meanwhile stands inside of it. What runs in a task of its own is not seen.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

thread_local! {
    /// The number of the innermost layer that is polled; 0: none.
    static AROUND: Cell<u64> = const { Cell::new(0) };
}

/// A service is polled inside a layer, until this is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    before: u64,
}

/// The layers that were seen around one.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The one that was seen last, so that it is looked up once.
    last: AtomicU64,
    seen: Mutex<Vec<u64>>,
}

/// The most layers that one layer may stand inside of; more are not told apart.
const MAX_SEEN: usize = 16;

/// The service inside the layer with this number is polled from now on.
#[cold]
pub(super) fn enter(id: u64) -> Inside {
    Inside { before: AROUND.try_with(|around| around.replace(id)).unwrap_or(0) }
}

/// The number of the innermost layer that is polled; 0: none.
pub(super) fn around() -> u64 {
    AROUND.try_with(Cell::get).unwrap_or(0)
}

impl Drop for Inside {
    #[cold]
    fn drop(&mut self) {
        // A thread that is ending has no thread-local number any more.
        let _ = AROUND.try_with(|around| around.set(self.before));
    }
}

impl Around {
    /// The layer with the number `own` decides on a request.
    pub(super) fn note(&self, own: u64) {
        let around = around();
        if around == 0 || around == own || self.last.swap(around, Ordering::Relaxed) == around {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&around) && seen.len() < MAX_SEEN {
            seen.push(around);
        }
    }

    pub(super) fn read(&self) -> Vec<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
