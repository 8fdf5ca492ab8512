//! An observer of your own, for telemetry that the facades do not reach.

use std::time::Duration;

use backpressure_core::Shed;

/// What a layer has decided on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It was admitted.
    #[non_exhaustive]
    Admitted {
        /// Its time in the queue.
        waited: Duration,
    },
    /// It was rejected.
    #[non_exhaustive]
    Rejected {
        /// Why, and when to come back.
        shed: Shed,
        /// Its time in the queue.
        waited: Duration,
    },
    /// It runs, and would have been rejected but for a dry run.
    #[non_exhaustive]
    WouldReject {
        /// Why, and when it would have been told to come back.
        shed: Shed,
    },
    /// It is exempt, and runs.
    Exempt,
    /// Its caller left while it was in the queue.
    #[non_exhaustive]
    Cancelled {
        /// Its time in the queue.
        waited: Duration,
    },
    /// It was in flight, and a layer inside or another service has rejected it: the mark that says "not begun" was
    /// removed from its response. Only for an observer that [observes ends](Observer::observes_ends).
    MarkRemoved,
    /// It was in flight, and its response has ended, or its caller has left. Only for an observer that
    /// [observes ends](Observer::observes_ends).
    #[non_exhaustive]
    Ended {
        /// From its admission to the end of the response's body.
        held: Duration,
        /// Whether there was a response. If not, its caller left first, or its handler panicked.
        answered: bool,
    },
}

impl Event {
    /// A stable short name, for labels and attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Rejected { .. } => "shed",
            Self::WouldReject { .. } => "would_reject",
            Self::Exempt => "exempt",
            Self::Cancelled { .. } => "cancelled",
            Self::MarkRemoved => "mark_removed",
            Self::Ended { .. } => "ended",
        }
    }

    /// The time in the queue, of a request that was decided on or was cancelled there.
    #[cfg(any(feature = "tracing", feature = "opentelemetry"))]
    pub(super) const fn waited(self) -> Option<Duration> {
        match self {
            Self::Admitted { waited }
            | Self::Rejected { waited, .. }
            | Self::Cancelled { waited } => Some(waited),
            Self::WouldReject { .. } | Self::Exempt | Self::MarkRemoved | Self::Ended { .. } => {
                None
            }
        }
    }
}

/// Is told of each decision of a layer: for OpenTelemetry instruments, an access log, a test.
///
/// It needs no feature, and costs a branch where there is none. It is called on the path of each request, and
/// has to be quick. What is not a decision (the limit, requests in flight, pressure) is read from a `Handle`, for
/// example by the callback of an observable gauge.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tower_backpressure::{AdmissionLayer, Event};
///
/// static REJECTED: AtomicU64 = AtomicU64::new(0);
///
/// let layer = AdmissionLayer::adaptive("api").observer(|_policy: &str, event: Event| {
///     if let Event::Rejected { .. } = event {
///         REJECTED.fetch_add(1, Ordering::Relaxed);
///     }
/// });
/// # let _ = layer;
/// ```
pub trait Observer: Send + Sync + 'static {
    /// The layer with this policy has decided.
    fn observe(&self, policy: &str, event: Event);

    /// Whether it is also told of the end of each request, by [`Event::Ended`], and of [`Event::MarkRemoved`]. That costs an allocation for each;
    /// `false` by default.
    ///
    /// ```
    /// use tower_backpressure::{Event, Observer};
    ///
    /// struct SlowRequests;
    ///
    /// impl Observer for SlowRequests {
    ///     fn observe(&self, policy: &str, event: Event) {
    ///         match event {
    ///             Event::Ended { held, .. } if held.as_secs() > 10 => println!("{policy}: {held:?}"),
    ///             _ => {}
    ///         }
    ///     }
    ///
    ///     fn observes_ends(&self) -> bool {
    ///         true
    ///     }
    /// }
    /// ```
    fn observes_ends(&self) -> bool {
        false
    }
}

impl<F: Fn(&str, Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, policy: &str, event: Event) {
        self(policy, event);
    }
}
