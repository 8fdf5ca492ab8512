//! The bounds of the queue: its length and the time in it.

use std::time::Duration;

/// The bounds of the queue: its length, and the time that a request may spend in it.
///
/// ```
/// use backpressure_core::QueueBounds;
/// use std::time::Duration;
///
/// let bounds = QueueBounds::new(16, Duration::from_millis(50));
/// assert_eq!(bounds.max_len, 16);
/// assert_eq!(QueueBounds::NONE.max_len, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueBounds {
    /// How many requests may be queued; 0: none.
    pub max_len: usize,
    /// How long each of them may be queued. A request that comes back when it was told to may be queued until its
    /// turn, 60 s at most: behind those ahead of it, for the time in which three more permits are usually released.
    pub max_wait: Duration,
    /// Whether the queue is no longer than what the service does within `max_wait` (at least 1024), is shortened under
    /// overload, and its newest request runs first far above capacity. A queue that does none of this is as long as
    /// `max_len` for as long as overload lasts, and serves in order.
    pub adapts: bool,
}

impl QueueBounds {
    /// No queue: a request is admitted at once or rejected at once.
    pub const NONE: Self = Self::new(0, Duration::ZERO);

    /// At most `max_len` requests are queued, each for `max_wait` at most.
    #[must_use]
    pub const fn new(max_len: usize, max_wait: Duration) -> Self {
        Self { max_len, max_wait, adapts: true }
    }

    /// A queue that serves in order and is bounded by its length alone, as one in front of workers: under
    /// overload each request waits behind `max_len` others.
    ///
    /// ```
    /// use backpressure_core::QueueBounds;
    /// use std::time::Duration;
    ///
    /// assert!(!QueueBounds::in_order(100, Duration::from_secs(30)).adapts);
    /// ```
    #[must_use]
    pub const fn in_order(max_len: usize, max_wait: Duration) -> Self {
        Self { max_len, max_wait, adapts: false }
    }
}

impl Default for QueueBounds {
    /// 16 384 requests, one second: of a service that does less than 16 384 requests in a second, what it does in
    /// that time, or 1024 if that is more.
    ///
    /// At 98 % of the capacity chance does not fill a queue of 1024 even where one worker serves one request at a time
    /// (0.98^1024 = 10⁻⁹), so that only overload and bursts do. What a fast service missed while it was suspended for a
    /// tenth of a second arrives in one burst, and is served within another. Under overload the controller shortens
    /// the queue by itself. A second is the longest delay that interactive callers commonly accept.
    fn default() -> Self {
        Self::new(16_384, Duration::from_secs(1))
    }
}
