//! How often a request was sent.

use http::Extensions;

/// How many attempts it took to get a response, the first included.
///
/// A [`RetryLayer`](crate::client::RetryLayer) leaves it in the extensions of a response that took
/// more than one. One attempt is the common case and leaves nothing, as that would cost three
/// allocations; [`of`](Self::of) knows.
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
    /// What the extensions of a response tell; one where they tell nothing.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(1))
    }
}
