//! One event when shedding starts and one when it stops; never one for each request. Fields of the request's span.

use backpressure_core::Shed;

use super::Event;
use crate::limiter::Limiter;

/// Records the decision in the span of the request, if that has the fields `backpressure.decision` and
/// `backpressure.queue_wait_ms`.
#[inline]
pub(super) fn decided(event: Event) {
    if tracing::dispatcher::has_been_set() {
        record(event);
    }
}

fn record(event: Event) {
    let span = tracing::Span::current();
    span.record("backpressure.decision", event.as_str());
    if let Some(waited) = event.waited() {
        span.record("backpressure.queue_wait_ms", waited.as_secs_f64() * 1_000.0);
    }
}

pub(super) fn shedding_starts(
    policy: &str,
    origin: Option<&str>,
    shed: Shed,
    limiter: Option<&Limiter>,
    dry_run: bool,
) {
    let state = limiter.map(Limiter::snapshot);
    let state = state.as_ref();
    tracing::warn!(
        policy,
        origin,
        reason = shed.reason.as_str(),
        limit = state.map(|it| it.limit),
        in_flight = state.map(|it| it.in_flight),
        queued = state.map(|it| it.queued),
        dry_run,
        "shedding starts"
    );
}

pub(super) fn shedding_stops(
    policy: &str,
    origin: Option<&str>,
    count: u64,
    limiter: Option<&Limiter>,
    dry_run: bool,
) {
    let state = limiter.map(Limiter::snapshot);
    let state = state.as_ref();
    tracing::info!(
        policy,
        origin,
        shed = count,
        limit = state.map(|it| it.limit),
        in_flight = state.map(|it| it.in_flight),
        dry_run,
        "shedding stops"
    );
}
