//! Without the feature `tracing`.

use backpressure_core::Shed;

use crate::limiter::Limiter;

pub(super) const fn shedding_starts(
    _policy: &str,
    _origin: Option<&str>,
    _shed: Shed,
    _limiter: &Limiter,
    _dry_run: bool,
) {
}

pub(super) const fn shedding_stops(
    _policy: &str,
    _origin: Option<&str>,
    _count: u64,
    _limiter: &Limiter,
    _dry_run: bool,
) {
}
