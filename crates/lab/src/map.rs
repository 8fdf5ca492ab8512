//! The metastability map: which triggers a service does not come back from, without and with the layers.

mod grid;
mod page;
mod verdict;
