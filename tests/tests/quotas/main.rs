//! Quotas: how much each tenant may use, and what it is told.

mod clients;
mod costs;
mod failing_keys;
mod fields;
mod keys;
mod limits;
mod operation;
mod reported_elsewhere;
mod shared;
mod support;
mod suspended;
