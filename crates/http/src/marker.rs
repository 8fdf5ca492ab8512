//! The mark of a request that was not begun.

use http::HeaderName;

/// Header of a refusal. Its presence says that the request was not begun, so that it may be sent
/// again whatever its method; its value says why it was refused.
///
/// A layer that admitted a request takes it off every answer from below.
pub const SHED_REASON: HeaderName = HeaderName::from_static("x-shed-reason");

/// The same, to look it up without making one.
pub(crate) static MARK: HeaderName = SHED_REASON;
