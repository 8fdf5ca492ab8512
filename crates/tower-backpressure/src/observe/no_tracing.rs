//! Without the feature `tracing`.

use backpressure_core::Shed;

use super::Event;
use crate::limiter::Limiter;

pub(super) const fn decided(_event: Event) {}

pub(super) const fn shedding_starts(
    _policy: &str,
    _origin: Option<&str>,
    _shed: Shed,
    _limiter: Option<&Limiter>,
    _dry_run: bool,
) {
}

pub(super) const fn shedding_stops(
    _policy: &str,
    _origin: Option<&str>,
    _count: u64,
    _limiter: Option<&Limiter>,
    _dry_run: bool,
) {
}
