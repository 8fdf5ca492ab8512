//! What a rejection by a layer of this client says to a retry layer around it.

use tokio::time::Instant;

/// In the extensions of a rejection: when this client sends the next attempt to its origin. The moment is spread
/// over the clients that were told the same, so that a retry layer adds no jitter of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResumesAt(pub(super) Instant);
