//! A constant limit.

use crate::limit::Limit;
use crate::out_of_range::OutOfRange;
use crate::sample::Sample;
use crate::time::Timestamp;

/// Always the same limit. Right until capacity changes.
///
/// ```
/// use backpressure_core::{Fixed, Limit};
///
/// assert_eq!(Fixed::new(16).limit(), 16);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fixed(usize);

impl Fixed {
    /// At most `limit` at once.
    ///
    /// # Panics
    /// When `limit` is not in 1..=1 000 000.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        assert!(limit >= 1 && limit <= super::MAX, "limit must be in 1..=1000000");
        Self(limit)
    }

    /// The same with a number that is not known when the program is written.
    ///
    /// # Errors
    /// When `limit` is not in 1..=1 000 000.
    pub const fn try_new(limit: usize) -> Result<Self, OutOfRange> {
        match OutOfRange::check("limit", limit, 1, super::MAX) {
            Ok(()) => Ok(Self(limit)),
            Err(error) => Err(error),
        }
    }
}

impl Limit for Fixed {
    fn limit(&self) -> usize {
        self.0
    }

    fn observe(&mut self, _sample: &Sample, _now: Timestamp) {}
}
