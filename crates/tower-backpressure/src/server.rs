//! Layers for servers: adaptive admission and bulkheads.

mod admission;
mod bulkhead;
mod options;

pub use self::admission::{Admission, AdmissionLayer};
pub use self::bulkhead::BulkheadLayer;
