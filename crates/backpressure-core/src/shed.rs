//! A rejection: why, and when to come back.

use std::fmt;
use std::time::Duration;

/// Why a request was rejected.
///
/// ```
/// use backpressure_core::Reason;
///
/// assert_eq!(Reason::TenantShare.as_str(), "tenant-share"); // in metrics, and in `x-shed-reason`
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The limit is reached and there is no queue.
    Limit,
    /// The queue is full.
    QueueFull,
    /// The request was queued for as long as the queue allows.
    QueueTimeout,
    /// The request gave way to one of higher priority, or to a newer one.
    Displaced,
    /// The caller's deadline would pass before the response.
    Deadline,
    /// The origin told the client to stay away for a while.
    Cooldown,
    /// The origin rejects most requests, and this one was rejected in the client.
    Throttle,
    /// The origin does no useful work at present.
    Breaker,
    /// An operator has stopped the service, or the process is about to end.
    Stopped,
    /// As many streams are open as may be. Its handler has run.
    Streams,
    /// The tenant has used up its quota.
    Quota,
    /// The tenant asks for more than its share, and there is none to spare.
    TenantShare,
}

impl Reason {
    /// All reasons there are, for exhaustive counters.
    pub const ALL: &'static [Self] = &[
        Self::Limit,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::Displaced,
        Self::Deadline,
        Self::Cooldown,
        Self::Throttle,
        Self::Breaker,
        Self::Stopped,
        Self::Streams,
        Self::Quota,
        Self::TenantShare,
    ];

    /// A stable short name, for metric labels and headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Displaced => "displaced",
            Self::Deadline => "deadline",
            Self::Cooldown => "cooldown",
            Self::Throttle => "throttle",
            Self::Breaker => "breaker",
            Self::Stopped => "stopped",
            Self::Streams => "streams",
            Self::Quota => "quota",
            Self::TenantShare => "tenant-share",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that was rejected before it ran. It may be sent again, whatever its method.
///
/// ```
/// use backpressure_core::{Reason, Shed};
/// use std::time::Duration;
///
/// let shed = Shed::new(Reason::QueueFull, Duration::from_secs(2));
/// assert_eq!(shed.to_string(), "shed (queue-full), come back in 2s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shed {
    /// Why it was rejected.
    pub reason: Reason,
    /// When to come back. Each rejected request is told another moment, so that they do not all return at
    /// once.
    pub retry_after: Duration,
}

impl Shed {
    /// A rejection for this reason.
    #[must_use]
    pub const fn new(reason: Reason, retry_after: Duration) -> Self {
        Self { reason, retry_after }
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, retry_after } = self;
        write!(f, "shed ({reason}), come back in {retry_after:?}")
    }
}

impl std::error::Error for Shed {}
