//! How many places have given no sign of work for long.

use std::time::Duration;

use crate::time::Timestamp;

/// Counts silent places without a list of them.
///
/// A place is stamped with the generation in which it last gave a sign of work. When a span of time is
/// over a new generation begins, and the counts move on by one: a place that was silent for a whole
/// span, and for no more than two, is silent. Only a place whose stamp is not of this generation has to
/// be reported when it gives another sign or is given back; the others are what remains of the total.
///
/// ```
/// use backpressure_core::{Ages, Timestamp};
/// use std::time::Duration;
///
/// let (mut ages, span) = (Ages::default(), Duration::from_millis(250));
/// let stamp = ages.generation();
/// for turn in 1..=2 {
///     let now = Timestamp::ZERO + turn * span;
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
    /// Places whose last sign of work was in the generation before this one.
    fading: usize,
    /// Places whose last sign of work is older.
    silent: usize,
    begun: Timestamp,
}

impl Ages {
    /// The stamp of a place that gives a sign of work now.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Places that have been silent for a span at least.
    #[must_use]
    pub const fn silent(&self) -> usize {
        self.silent
    }

    /// Whether a place with this stamp is one of them.
    #[must_use]
    pub const fn is_silent(&self, stamp: u32) -> bool {
        self.generation.wrapping_sub(stamp) > 1
    }

    /// Whether this generation has lasted for a span.
    #[must_use]
    pub fn is_due(&self, span: Duration, now: Timestamp) -> bool {
        now.since(self.begun) >= span
    }

    /// Begins a new generation, with so many places stamped altogether.
    pub fn turn(&mut self, total: usize, now: Timestamp) {
        let fresh = total.saturating_sub(self.fading + self.silent);
        self.silent += self.fading;
        self.fading = fresh;
        self.generation = self.generation.wrapping_add(1);
        self.begun = now;
    }

    /// A place with this stamp counts as silent from now on, without a wait; its new stamp.
    pub fn rest(&mut self, stamp: u32) -> u32 {
        self.leave(stamp);
        self.silent += 1;
        self.generation.wrapping_sub(2)
    }

    /// A place with this stamp is stamped anew or given back.
    pub fn leave(&mut self, stamp: u32) {
        match self.generation.wrapping_sub(stamp) {
            0 => {}
            1 => self.fading = self.fading.saturating_sub(1),
            _ => self.silent = self.silent.saturating_sub(1),
        }
    }
}
