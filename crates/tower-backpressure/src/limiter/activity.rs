//! When permits last gave a sign of work, in one atomic word.

use super::sync::atomic::{AtomicU64, Ordering};

/// Number of stamped permits (32 bits) and the generation (32 bits): the lock-free side of
/// [`Ages`](backpressure_core::Ages).
///
/// Stamping a permit, and removing a stamp of the current generation, is one atomic step each. Because
/// the generation changes in the same word, no stamp is added or removed between two generations unseen.
/// Older stamps are rare and are removed with the lock held.
///
/// It has a cache line of its own, since every request under an adaptive limit writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Activity(AtomicU64);

const ONE: u64 = 1;
const GENERATION_SHIFT: u32 = 32;

impl Activity {
    /// Adds a stamp of the current generation.
    pub(crate) fn enter(&self) -> u32 {
        generation(self.0.fetch_add(ONE, Ordering::AcqRel))
    }

    /// Removes a stamp; false, and nothing happens, if it is of an older generation.
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

    /// Removes a stamp of any generation. Called with the lock held.
    pub(crate) fn leave_any(&self) {
        self.0.fetch_sub(ONE, Ordering::AcqRel);
    }

    pub(crate) fn generation(&self) -> u32 {
        generation(self.0.load(Ordering::Relaxed))
    }

    /// Begins a new generation; returns the number of stamps. Called with the lock held.
    pub(crate) fn turn(&self) -> usize {
        // The carry falls off the end: generations wrap around.
        let word = self.0.fetch_add(ONE << GENERATION_SHIFT, Ordering::AcqRel);
        (word as u32) as usize
    }
}

const fn generation(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}
