//! The number of an attempt, in the extensions of requests and responses, and the attempt in progress.

use std::cell::Cell;

use http::Extensions;

/// The number of attempts that a response took, or the number of the attempt that a request is, the first
/// included.
///
/// A [`RetryLayer`](crate::client::RetryLayer) puts it into the extensions of a retry, and of a response
/// that took more than one attempt. A first attempt and its response get no extension, as that would cost
/// three allocations; [`of`](Self::of) returns one for them.
///
/// ```
/// use tower_backpressure::Attempts;
///
/// fn was_retried<B>(response: &http::Response<B>) -> bool {
///     Attempts::of(response.extensions()) > Attempts(1)
/// }
/// assert!(!was_retried(&http::Response::new(())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempts(pub u32);

impl Attempts {
    /// Reads the number from the extensions of a response or request; one where there is none.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(1))
    }
}

thread_local! {
    /// The request of the attempt that is being sent or polled on this thread; zero for none.
    static ATTEMPT_IN_PROGRESS: Cell<usize> = const { Cell::new(0) };
}

/// An attempt is being sent or polled on this thread, until it is dropped. A retry layer that is called with
/// the same request meanwhile is inside another one.
///
/// An extension of the request would tell as much, and cost three allocations for each first attempt.
#[derive(Debug)]
pub(crate) struct AttemptInProgress {
    outer: usize,
}

impl AttemptInProgress {
    /// `identity`: see [`RequestHead::identity`](crate::client::replay::RequestHead::identity).
    pub(crate) fn enter(identity: usize) -> Self {
        Self { outer: ATTEMPT_IN_PROGRESS.replace(identity) }
    }

    pub(crate) fn is_of(identity: usize) -> bool {
        ATTEMPT_IN_PROGRESS.get() == identity
    }
}

impl Drop for AttemptInProgress {
    fn drop(&mut self) {
        ATTEMPT_IN_PROGRESS.set(self.outer);
    }
}
