//! When places last gave a sign of work, in one atomic word.

use crate::sync::atomic::{AtomicU64, Ordering};

/// How many places are stamped (32 bits) and the generation (32 bits): the lock-free side of
/// [`Ages`](backpressure_core::Ages).
///
/// A place whose stamp is of this generation is stamped and given back with one step each. Because the
/// generation changes in the same word, none slips in or out between two generations unseen. Any
/// other place is rare, and given back at the desk.
#[derive(Debug, Default)]
pub(crate) struct Activity(AtomicU64);

const ONE: u64 = 1;
const GENERATION_SHIFT: u32 = 32;

impl Activity {
    /// Stamps a place.
    pub(crate) fn enter(&self) -> u32 {
        generation(self.0.fetch_add(ONE, Ordering::AcqRel))
    }

    /// Gives back a place with this stamp, if that is of this generation.
    pub(crate) fn leave(&self, stamp: u32) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while generation(word) == stamp {
            let left = word - ONE;
            match self.0.compare_exchange_weak(word, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => word = current,
            }
        }
        false
    }

    /// Gives back a place with any stamp. Only the desk calls this.
    pub(crate) fn leave_any(&self) {
        self.0.fetch_sub(ONE, Ordering::AcqRel);
    }

    pub(crate) fn generation(&self) -> u32 {
        generation(self.0.load(Ordering::Relaxed))
    }

    /// Begins a new generation; how many places are stamped. Only the desk calls this.
    pub(crate) fn turn(&self) -> usize {
        // The carry falls off the end: generations wrap around.
        let word = self.0.fetch_add(ONE << GENERATION_SHIFT, Ordering::AcqRel);
        (word as u32) as usize
    }
}

const fn generation(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}
