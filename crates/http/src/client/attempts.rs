//! How often a request was sent.

/// Found in the extensions of every response that came through a
/// [`RetryLayer`](crate::client::RetryLayer): how many attempts it took, the first included.
///
/// ```
/// use tower_backpressure::Attempts;
///
/// fn was_retried<B>(response: &http::Response<B>) -> bool {
///     response.extensions().get().is_some_and(|Attempts(made)| *made > 1)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempts(pub u32);
