//! Until when somebody waits for the answer.

use tokio::time::Instant;

/// The instant after which the answer is worthless.
///
/// Put it into a request's extensions: a request that cannot be answered before it is turned away
/// at once instead of waiting in vain, and [`RetryLayer`](crate::RetryLayer) does not sleep past it.
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
