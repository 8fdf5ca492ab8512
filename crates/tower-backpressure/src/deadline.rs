//! The deadline of a request.

use tokio::time::Instant;

/// The instant after which the caller has no use for the response.
///
/// Put it into a request's extensions. The admission layers reject a request at once that cannot be
/// served before its deadline, and [`RetryLayer`](crate::RetryLayer) ends its attempts at it.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_backpressure::Deadline;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Deadline(Instant::now() + Duration::from_millis(250)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(pub Instant);
