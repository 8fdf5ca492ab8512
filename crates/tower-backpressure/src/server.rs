//! Layers for servers: adaptive admission, bulkheads, and what they are told of requests.

mod admission;
mod bulkhead;
mod options;
mod request_info;

pub use self::admission::{Admission, AdmissionLayer};
pub use self::bulkhead::BulkheadLayer;
pub use self::request_info::{ExtractInfo, RequestInfoLayer, WithRequestInfo};
