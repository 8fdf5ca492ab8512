//! HTTP header fields: parsing and formatting, no decisions.

pub(crate) mod content_length;
#[cfg(feature = "client")]
pub(crate) mod retry_after;
pub(crate) mod shed_reason;
