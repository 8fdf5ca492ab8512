//! The scenarios that come with the lab.

use super::Scenario;

const FILES: &[&str] = &[
    include_str!("../../scenarios/cpu-2x.toml"),
    include_str!("../../scenarios/slots-exp-2x.toml"),
];

/// All of them, in the order of the tables.
///
/// # Errors
/// What is wrong with one.
pub(crate) fn all() -> Result<Vec<Scenario>, String> {
    FILES.iter().map(|text| Scenario::parse(text)).collect()
}
