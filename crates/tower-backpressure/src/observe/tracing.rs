//! One event when shedding starts and one when it stops; never one for each request.

use backpressure_core::Shed;

use crate::limiter::Limiter;

pub(super) fn shedding_starts(
    policy: &str,
    origin: Option<&str>,
    shed: Shed,
    limiter: &Limiter,
    dry_run: bool,
) {
    let state = limiter.snapshot();
    tracing::warn!(
        policy,
        origin,
        reason = shed.reason.as_str(),
        limit = state.limit,
        in_flight = state.in_flight,
        queued = state.queued,
        dry_run,
        "shedding starts"
    );
}

pub(super) fn shedding_stops(
    policy: &str,
    origin: Option<&str>,
    count: u64,
    limiter: &Limiter,
    dry_run: bool,
) {
    let state = limiter.snapshot();
    tracing::info!(
        policy,
        origin,
        shed = count,
        limit = state.limit,
        in_flight = state.in_flight,
        dry_run,
        "shedding stops"
    );
}
