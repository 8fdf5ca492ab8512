//! HTTP header fields: parsing and formatting, no decisions.

#[cfg(any(feature = "server", feature = "client"))]
pub(crate) mod attempts;
pub(crate) mod content_length;
#[cfg(feature = "server")]
pub(crate) mod cost;
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) mod criticality;
#[cfg(feature = "server")]
pub(crate) mod dictionary;
pub(crate) mod grpc;
#[cfg(feature = "server")]
pub(crate) mod priority;
#[cfg(feature = "server")]
pub(crate) mod rate_limit_fields;
#[cfg(feature = "server")]
pub(crate) mod request_start;
#[cfg(feature = "client")]
pub(crate) mod retry_after;
#[cfg(feature = "client")]
pub(crate) mod retry_after_scope;
pub(crate) mod shed_reason;
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) mod timeout;

/// One to `max` digits and nothing else; at most 18 digits fit.
#[cfg(any(feature = "server", feature = "client"))]
fn number(digits: &[u8], max: usize) -> Option<u64> {
    let is_number = (1..=max).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok()
}
