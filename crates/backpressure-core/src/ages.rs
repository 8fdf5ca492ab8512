//! Counts permits that have shown no sign of work for long.

use std::time::Duration;

use crate::time::Timestamp;

/// Counts silent permits without a list of them.
///
/// Each permit has a stamp: the generation in which it last showed a sign of work. After a `span` of time a
/// new generation begins. A permit is silent if its stamp is older than the generation before, so after one
/// span of silence at least and two at most. A permit whose stamp is of the current generation need not be
/// reported when it is stamped again or released, which keeps the common case free of the lock.
///
/// ```
/// use backpressure_core::{Ages, Timestamp};
/// use std::time::Duration;
///
/// let (mut ages, span) = (Ages::default(), Duration::from_millis(250));
/// let stamp = ages.generation();
/// for n in 1..=2 {
///     let now = Timestamp::ZERO + n * span;
///     assert!(ages.is_due(span, now));
///     ages.turn(1, now);
/// }
/// assert_eq!(ages.silent(), 1);
/// ages.leave(stamp);
/// assert_eq!(ages.silent(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ages {
    generation: u32,
    /// Permits whose stamp is of the generation before this one.
    previous: usize,
    /// Permits whose stamp is older.
    silent: usize,
    started: Timestamp,
}

impl Ages {
    /// The stamp of a permit that shows a sign of work now.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// How many permits have been silent for a span at least.
    #[must_use]
    pub const fn silent(&self) -> usize {
        self.silent
    }

    /// Whether a permit with this stamp is silent.
    #[must_use]
    pub const fn is_silent(&self, stamp: u32) -> bool {
        Self::is_silent_in(self.generation, stamp)
    }

    /// The same where the current generation is kept elsewhere, such as in an atomic.
    #[must_use]
    pub const fn is_silent_in(generation: u32, stamp: u32) -> bool {
        generation.wrapping_sub(stamp) > 1
    }

    /// Whether this generation has lasted for a span.
    #[must_use]
    pub fn is_due(&self, span: Duration, now: Timestamp) -> bool {
        now.since(self.started) >= span
    }

    /// Starts a new generation; `total` permits are stamped, of whatever generation.
    pub fn turn(&mut self, total: usize, now: Timestamp) {
        let current = total.saturating_sub(self.previous + self.silent);
        self.silent += self.previous;
        self.previous = current;
        self.generation = self.generation.wrapping_add(1);
        self.started = now;
    }

    /// Makes a permit with this stamp silent at once; returns its new stamp.
    pub fn rest(&mut self, stamp: u32) -> u32 {
        self.leave(stamp);
        self.silent += 1;
        self.generation.wrapping_sub(2)
    }

    /// Removes a stamp: its permit is stamped again or released.
    pub fn leave(&mut self, stamp: u32) {
        match self.generation.wrapping_sub(stamp) {
            0 => {}
            1 => self.previous = self.previous.saturating_sub(1),
            _ => self.silent = self.silent.saturating_sub(1),
        }
    }
}
