//! The instant after which an answer is worthless.

use tokio::time::Instant;

/// Put into the extensions of an [`http::Request`], tells the layers below how long it pays to try.
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_backpressure::client::Deadline;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Deadline(Instant::now() + Duration::from_secs(2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(pub Instant);
