//! The bounds of the queue.

use std::time::Duration;

/// The bounds of the queue: requests, and time.
///
/// ```
/// use backpressure_core::QueueBounds;
/// use std::time::Duration;
///
/// let none = QueueBounds::NONE;
/// let short = QueueBounds::new(16, Duration::from_millis(50));
/// # assert_ne!(none, short);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueBounds {
    /// Requests that may wait; 0: none.
    pub max_len: usize,
    /// The longest time a request may wait.
    pub max_wait: Duration,
}

impl QueueBounds {
    /// No queue: a request is admitted at once or rejected at once.
    pub const NONE: Self = Self::new(0, Duration::ZERO);

    /// At most `max_len` requests wait, each for `max_wait` at most.
    #[must_use]
    pub const fn new(max_len: usize, max_wait: Duration) -> Self {
        Self { max_len, max_wait }
    }
}

impl Default for QueueBounds {
    /// 1024 requests, one second.
    ///
    /// At 90 % load, chance fills it once in a million even where one worker serves one request at a
    /// time. Under overload the controller shortens the queue by itself.
    fn default() -> Self {
        Self::new(1024, Duration::from_secs(1))
    }
}
