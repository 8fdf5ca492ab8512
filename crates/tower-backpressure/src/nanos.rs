//! Spans of time as an atomic holds them: nanoseconds in 64 bits.

use std::time::Duration;

/// The nanoseconds of a span, saturating after 584 years.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
