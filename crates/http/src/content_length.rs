//! How long a body says it is.

use http::{HeaderMap, header};

/// The Content-Length, if there is one that can be read.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
