//! Permits in flight, and how many may be in flight without a decision, in one atomic word.

use super::sync::atomic::{AtomicU64, Ordering};

/// In flight (20 bits), open (20 bits) and a serial number (24 bits) in one atomic.
///
/// While fewer are in flight than `open`, admission is one compare-and-swap and release one
/// subtraction. `open` is the limit while the queue is empty, and 0 as soon as a decision is needed:
/// then every request and every release takes the lock. Because count and rule change in one step, no
/// request is admitted past the limit and no release overlooks a queued request.
///
/// It has a cache line of its own, since every request writes it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Counter(AtomicU64);

const FIELD: u64 = (1 << 20) - 1;
const OPEN_SHIFT: u32 = 20;
const SERIAL_SHIFT: u32 = 40;
/// Serial numbers wrap here.
pub(crate) const SERIALS: u32 = 1 << 24;
const ONE_SERIAL: u64 = 1 << SERIAL_SHIFT;
const ONE: u64 = 1 | ONE_SERIAL;

/// An admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Permits in flight, this one included.
    pub(crate) in_flight: usize,
    /// Number of the admission, modulo 2²⁴.
    pub(crate) serial: u32,
    /// What it holds besides one unit; 0: nothing. See [`Holds`](super::holds::Holds).
    pub(crate) hold: u32,
}

impl Counter {
    pub(crate) fn new(open: usize) -> Self {
        Self(AtomicU64::new((open as u64 & FIELD) << OPEN_SHIFT))
    }

    pub(crate) fn in_flight(&self) -> usize {
        in_flight(self.0.load(Ordering::Acquire))
    }

    /// Whether every request needs a decision, as while requests are queued.
    pub(crate) fn needs_decision(&self) -> bool {
        open(self.0.load(Ordering::Relaxed)) == 0
    }

    /// How many may be in flight without a decision, if a request that arrives now needs none.
    pub(crate) fn open_permits(&self) -> Option<usize> {
        let word = self.0.load(Ordering::Acquire);
        (in_flight(word) < open(word)).then(|| open(word))
    }

    /// Admissions so far, modulo 2²⁴.
    pub(crate) fn serial(&self) -> u32 {
        entry(self.0.load(Ordering::Relaxed)).serial
    }

    /// Admits a request if that needs no decision.
    pub(crate) fn try_enter(&self) -> Option<Entry> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if in_flight(word) >= open(word) {
                return None;
            }
            let entered = word.wrapping_add(ONE);
            match self.0.compare_exchange_weak(word, entered, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(entry(entered)),
                Err(current) => word = current,
            }
        }
    }

    /// Admits a request that the controller has decided on, with this many units.
    pub(crate) fn enter(&self, units: usize) -> Entry {
        let more = ONE_SERIAL | units as u64 & FIELD;
        entry(self.0.fetch_add(more, Ordering::AcqRel).wrapping_add(more))
    }

    /// Releases a permit of one unit; true when the controller has to be told.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        open(self.0.fetch_sub(1, Ordering::AcqRel)) == 0
    }

    /// Releases a permit of this many units. Called with the lock held.
    pub(crate) fn leave_units(&self, units: usize) {
        self.0.fetch_sub(units as u64 & FIELD, Ordering::AcqRel);
    }

    /// From now on every request needs a decision.
    pub(crate) fn close(&self) {
        self.0.fetch_and(!(FIELD << OPEN_SHIFT), Ordering::AcqRel);
    }

    /// From now on `limit` permits need no decision. Called with the lock held.
    pub(crate) fn open(&self, limit: usize) {
        let limit = limit as u64 & FIELD;
        let mut word = self.0.load(Ordering::Relaxed);
        while open(word) as u64 != limit {
            let opened = word & !(FIELD << OPEN_SHIFT) | limit << OPEN_SHIFT;
            match self.0.compare_exchange_weak(word, opened, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }
}

const fn in_flight(word: u64) -> usize {
    (word & FIELD) as usize
}

const fn open(word: u64) -> usize {
    (word >> OPEN_SHIFT & FIELD) as usize
}

const fn entry(word: u64) -> Entry {
    Entry { in_flight: in_flight(word), serial: (word >> SERIAL_SHIFT) as u32, hold: 0 }
}
