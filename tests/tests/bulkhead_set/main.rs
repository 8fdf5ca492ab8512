//! Bulkheads that share a total: what each is guaranteed, what it borrows, and how that comes back.

mod keys;
mod layers;
mod sharing;
mod support;
mod total;
