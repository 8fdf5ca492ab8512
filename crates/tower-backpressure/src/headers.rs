//! HTTP header fields: parsing and formatting, no decisions.

pub(crate) mod content_length;
#[cfg(feature = "server")]
pub(crate) mod criticality;
#[cfg(feature = "server")]
pub(crate) mod dictionary;
#[cfg(feature = "server")]
pub(crate) mod priority;
#[cfg(feature = "server")]
pub(crate) mod request_start;
#[cfg(feature = "client")]
pub(crate) mod retry_after;
pub(crate) mod shed_reason;
#[cfg(feature = "server")]
pub(crate) mod timeout;
