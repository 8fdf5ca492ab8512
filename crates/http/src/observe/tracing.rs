//! An event at either edge, never one a request: a storm must not flood the log as well.

use backpressure_gate::{Gate, Shed};

pub(super) fn shedding_starts(
    policy: &str,
    origin: Option<&str>,
    shed: Shed,
    gate: &Gate,
    dry_run: bool,
) {
    let state = gate.snapshot();
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
    gate: &Gate,
    dry_run: bool,
) {
    let state = gate.snapshot();
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
