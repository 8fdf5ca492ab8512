//! How long the line may get.

use std::time::Duration;

/// How long the line may get: a bound in people and one in time.
///
/// ```
/// use backpressure_core::QueueBounds;
/// use std::time::Duration;
///
/// let none = QueueBounds::NONE;
/// let short = QueueBounds { max_len: 16, max_wait: Duration::from_millis(50) };
/// # assert_ne!(none, short);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// How many may wait; 0: nobody.
    pub max_len: usize,
    /// How long anybody may wait.
    pub max_wait: Duration,
}

impl QueueBounds {
    /// Nobody waits: admitted at once or turned away at once.
    pub const NONE: Self = Self { max_len: 0, max_wait: Duration::ZERO };
}

impl Default for QueueBounds {
    /// 1024 waiting, one second.
    ///
    /// Long enough that chance alone fills it once in a million at 90 % load even where one
    /// worker serves one request at a time; under overload the machine shortens the line by itself.
    fn default() -> Self {
        Self { max_len: 1024, max_wait: Duration::from_secs(1) }
    }
}
