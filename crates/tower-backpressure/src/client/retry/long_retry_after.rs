//! What a `Retry-After` beyond the maximum means.

/// What [`RetryLayer`](crate::RetryLayer) does when a server asks for more than
/// [`max_retry_after`](crate::RetryLayer::max_retry_after).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LongRetryAfter {
    /// Returns the response at once. An earlier retry would be rejected again, and the caller can use the
    /// time better.
    #[default]
    GiveUp,
    /// Waits for the maximum. It is for servers that exaggerate.
    Clamp,
    /// Waits as if the server had not said when. It is for servers whose values are wrong, such as a Unix
    /// time in place of a delay.
    Ignore,
}
