//! Without the feature `tracing`.

use backpressure_gate::{Gate, Shed};

pub(super) const fn shedding_starts(
    _policy: &str,
    _origin: Option<&str>,
    _shed: Shed,
    _gate: &Gate,
    _dry_run: bool,
) {
}

pub(super) const fn shedding_stops(
    _policy: &str,
    _origin: Option<&str>,
    _count: u64,
    _gate: &Gate,
    _dry_run: bool,
) {
}
