//! From reports of a policy to what the page shows of it.

use tower_backpressure::Mode;
use tower_backpressure::observe::{
    Distribution, Kind, LimiterReport, PartReport, Report, Requests, RetryReport, TenantReport,
};

use super::{
    LimitView, PartView, PolicyView, Quantiles, Rates, ReasonView, RetriesView, Status, TenantView,
    Totals, shortened,
};
use crate::why::why;

pub(super) fn show(now: &Report, before: &Report, oldest: &Report, elapsed: f64) -> PolicyView {
    let total = Totals::of(&now.requests);
    let per_second = total.rates_since(Totals::of(&before.requests), elapsed);
    let limit = now.limiter.as_ref().map(LimitView::of);
    let parts: Vec<_> = now.parts.iter().map(|part| PartView::of(now.kind, part)).collect();
    let own = now.limiter.as_ref().map(|limiter| limiter.pressure);
    let pressure = own.unwrap_or_else(|| pressure_of(now.kind, &parts, &per_second));
    PolicyView {
        id: now.id,
        name: shortened(&now.name),
        kind: now.kind.as_str(),
        side: if now.kind.is_client() { "client" } else { "server" },
        status: status(now, &per_second, limit.as_ref(), pressure),
        around: now.around.clone(),
        dry_run: now.dry_run,
        pressure: rounded(pressure),
        why: now.limiter.as_ref().map(|limiter| why(now.kind, limiter)),
        limit,
        per_second,
        total,
        rejected_by: reasons(&now.requests, &before.requests, elapsed),
        response_ms: quantiles(&now.response_time, &oldest.response_time, 1e3),
        wait_ms: quantiles(&now.queue_wait, &oldest.queue_wait, 1e3),
        retry_after_s: quantiles(&now.retry_after, &oldest.retry_after, 1.0),
        retries: now.retries.as_ref().map(|retries| {
            let before = before.retries.as_ref().unwrap_or(retries);
            RetriesView::of(retries, before, elapsed)
        }),
        parts,
        part_count: now.part_count,
        tenants: tenants(now),
        tenant_count: now.tenant_count,
    }
}

/// Of a policy with a limiter for each origin, that of the one nearest to its limit; of the others, the share of
/// requests that is rejected.
fn pressure_of(kind: Kind, parts: &[PartView], rates: &Rates) -> f64 {
    let worst = parts.iter().map(|part| part.pressure).fold(0.0, f64::max);
    let all = rates.admitted + rates.rejected;
    match kind {
        Kind::OriginLimit | Kind::Bulkhead | Kind::Admission => worst,
        _ if all > 0.0 => rates.rejected / all,
        _ => 0.0,
    }
}

fn status(report: &Report, rates: &Rates, limit: Option<&LimitView>, pressure: f64) -> Status {
    let mode = report.limiter.as_ref().map(|limiter| limiter.mode);
    match mode {
        Some(Mode::Paused(_)) => return Status::Paused,
        Some(Mode::Draining) => return Status::Draining,
        Some(Mode::Stopped) => return Status::Stopped,
        _ => {}
    }
    let has_limits = limit.is_some() || report.parts.iter().any(|part| part.limiter.is_some());
    if rates.rejected > 0.0 || rates.would_reject > 0.0 {
        Status::Rejecting
    } else if has_limits && pressure > 0.5 {
        Status::Queueing
    } else if rates.admitted + rates.exempt > 0.0 || limit.is_some_and(|it| it.in_flight > 0) {
        Status::Ok
    } else {
        Status::Idle
    }
}

fn reasons(now: &Requests, before: &Requests, elapsed: f64) -> Vec<ReasonView> {
    let rejected = now.rejected.iter().map(|&(reason, total)| {
        let before = before.rejected.iter().find(|(other, _)| *other == reason);
        let since = total - before.map_or(0, |(_, count)| *count).min(total);
        ReasonView { reason: reason.as_str(), per_second: rate(since, elapsed), total }
    });
    let mut rejected: Vec<_> = rejected.collect();
    rejected.sort_by_key(|reason| std::cmp::Reverse(reason.total));
    rejected
}

fn quantiles(now: &Distribution, before: &Distribution, scale: f64) -> Option<Quantiles> {
    let since = now.since(before);
    let at = |share| since.quantile(share).map(|time| rounded(time.as_secs_f64() * scale));
    Some(Quantiles { p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)?, count: since.count() })
}

fn tenants(report: &Report) -> Vec<TenantView> {
    let view = |tenant: &TenantReport| TenantView {
        name: shortened(&tenant.name),
        per_second: rounded(tenant.rate),
        rejected_share: rounded(tenant.rejected_share),
    };
    report.tenants.iter().map(view).collect()
}

impl Totals {
    fn of(requests: &Requests) -> Self {
        Self {
            admitted: requests.admitted,
            rejected: requests.rejected.iter().map(|(_, count)| count).sum(),
            would_reject: requests.would_reject,
            exempt: requests.exempt,
            cancelled: requests.cancelled,
        }
    }

    fn rates_since(self, before: Self, elapsed: f64) -> Rates {
        let since = |now: u64, before: u64| rate(now.saturating_sub(before), elapsed);
        Rates {
            admitted: since(self.admitted, before.admitted),
            rejected: since(self.rejected, before.rejected),
            would_reject: since(self.would_reject, before.would_reject),
            exempt: since(self.exempt, before.exempt),
        }
    }
}

impl LimitView {
    fn of(limiter: &LimiterReport) -> Self {
        Self {
            limit: limiter.limit,
            in_flight: limiter.in_flight,
            queued: limiter.queued,
            streams: limiter.streams,
            overloaded: limiter.overloaded,
            min: limiter.min,
            max: limiter.max,
            adapts: limiter.adapts,
            pinned: limiter.min == limiter.max,
        }
    }
}

impl PartView {
    fn of(kind: Kind, part: &PartReport) -> Self {
        Self {
            name: shortened(&part.name),
            state: part.state,
            left_s: rounded(part.left.as_secs_f64()),
            held: part.held,
            rejected_share: rounded(part.rejected_share),
            pressure: part.limiter.as_ref().map_or(0.0, |limiter| rounded(limiter.pressure)),
            limit: part.limiter.as_ref().map(LimitView::of),
            why: part.limiter.as_ref().map(|limiter| why(kind, limiter)),
        }
    }
}

impl RetriesView {
    fn of(now: &RetryReport, before: &RetryReport, elapsed: f64) -> Self {
        let since = |now: u64, before: u64| rate(now.saturating_sub(before), elapsed);
        let gave_up = now.gave_up.iter().map(|&(reason, total)| {
            let earlier = before.gave_up.iter().find(|(other, _)| *other == reason);
            let per_second = since(total, earlier.map_or(0, |(_, count)| *count));
            ReasonView { reason, per_second, total }
        });
        Self {
            first_per_second: since(now.first_attempts, before.first_attempts),
            retried_per_second: since(now.retried, before.retried),
            first: now.first_attempts,
            retried: now.retried,
            budget: rounded(now.balance),
            budget_max: rounded(now.largest_balance),
            gave_up: gave_up.collect(),
        }
    }
}

fn rate(count: u64, elapsed: f64) -> f64 {
    (count as f64 / elapsed * 10.0).round() / 10.0
}

/// Four decimals, so that numbers stay short.
fn rounded(value: f64) -> f64 {
    if value.is_finite() { (value * 1e4).round() / 1e4 } else { 0.0 }
}
