//! Reasons for rejections.

use tower_backpressure::Reason;

/// All reasons for which a limit of a server rejects a request before its handler runs; the others are those of
/// clients, of streams, of quotas and of shares of tenants.
pub fn of_limits() -> impl Iterator<Item = Reason> {
    let others = [
        Reason::Cooldown,
        Reason::Throttle,
        Reason::Breaker,
        Reason::Streams,
        Reason::Quota,
        Reason::TenantShare,
    ];
    Reason::ALL.iter().copied().filter(move |reason| !others.contains(reason))
}
