//! The number of attempts that a response took.

use http::Extensions;

/// The number of attempts that a response took, the first included.
///
/// A [`RetryLayer`](crate::client::RetryLayer) puts it into the extensions of a response that took more
/// than one. A response to the first attempt gets no extension, as that would cost three allocations;
/// [`of`](Self::of) returns one for it.
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
    /// Reads the number from the extensions of a response; one where there is none.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(1))
    }
}
