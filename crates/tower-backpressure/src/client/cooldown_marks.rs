//! What a cool-down says to a retry layer around it, in the extensions of a response.

use tokio::time::Instant;

/// When this client sends the next attempt to the origin that has rejected this one. The moment is spread over the clients
/// that were told the same, so that a retry layer adds no jitter of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResumesAt(pub(super) Instant);

/// The origin did not keep its word: when it was asked again after the time that it had named, it named another one. An
/// attempt that was not sent for this reason may wait in vain.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldAgain;
