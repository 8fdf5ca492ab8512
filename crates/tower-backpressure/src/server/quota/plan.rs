//! A plan: a quota with a name, and what is said of it in responses.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Quota, QuotaRejection, QuotaWindow, Standing, Violated};
use bytes::Bytes;
use http::HeaderMap;

use crate::headers::rate_limit_fields::{Allowance, Left, Policies, RateLimitFields};

/// A quota with a name, and what is said of it in responses, built beforehand.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: Box<str>,
    pub(super) quota: Quota,
    /// The name of the layer.
    layer: Box<str>,
    /// Of the windows in their order, and of the requests at once.
    policies: Policies,
}

/// The name of the number of requests at once.
const CONCURRENT: &str = "concurrent";

impl Plan {
    pub(super) fn new(layer: &str, name: &str, quota: Quota) -> Self {
        let mut allowances: Vec<_> = quota.windows().map(allowance).collect();
        allowances.extend(quota.max_in_flight().map(|max| Allowance {
            name: CONCURRENT.into(),
            quota: max.into(),
            window: None,
        }));
        for allowance in &mut allowances {
            allowance.name = policy_name(layer, &allowance.name).into();
        }
        let policies = Policies::new(allowances);
        Self { name: name.into(), quota, layer: layer.into(), policies }
    }

    /// The same plan in memory of its own: one count of references for all tenants would be where threads meet.
    pub(super) fn twin(&self) -> Arc<Self> {
        Arc::new(Self::new(&self.layer, &self.name, self.quota))
    }

    /// Tells what is left after a request that was admitted.
    pub(super) fn write_left(
        &self,
        fields: RateLimitFields,
        headers: &mut HeaderMap,
        standing: Vec<Standing>,
        in_flight: u32,
    ) {
        let windows =
            standing.into_iter().map(|it| Left { remaining: it.remaining, more_in: it.more_in });
        let free = self
            .quota
            .max_in_flight()
            .map(|max| Left { remaining: max.saturating_sub(in_flight).into(), more_in: None });
        let parts: Vec<_> = self.policies.allowances.iter().zip(windows.chain(free)).collect();
        fields.write(headers, &self.policies, &parts);
    }

    /// Tells what was exceeded. Windows that were not are left out: `Retry-After` is not about them.
    pub(super) fn write_exceeded(
        &self,
        fields: RateLimitFields,
        headers: &mut HeaderMap,
        rejection: QuotaRejection,
        retry_after: Duration,
    ) {
        let exceeded = |violated: &&Allowance| self.is_violated(violated, rejection.violated);
        let left = Left { remaining: 0, more_in: Some(retry_after) };
        let parts: Vec<_> =
            self.policies.allowances.iter().filter(exceeded).map(|it| (it, left)).collect();
        fields.write(headers, &self.policies, &parts);
    }

    /// RFC 9457, with the type and the member that draft 11 of the RateLimit fields registers.
    pub(super) fn problem(&self, rejection: QuotaRejection) -> Bytes {
        let detail = match rejection.is_possible {
            true => "The quota is used up. There is more after Retry-After.",
            false => "The request costs more than the quota ever allows at once.",
        };
        let violated =
            self.policies.allowances.iter().filter(|it| self.is_violated(it, rejection.violated));
        let names: Vec<_> = violated.map(|it| format!(r#""{}""#, it.name)).collect();
        Bytes::from(format!(
            r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,"detail":"{detail}","violated-policies":[{}]}}"#,
            names.join(",")
        ))
    }

    fn is_violated(&self, allowance: &Allowance, violated: Violated) -> bool {
        match allowance.window {
            None => violated.in_flight(),
            Some(_) => {
                let position = self.policies.allowances.iter().position(|it| it == allowance);
                position.is_some_and(|position| violated.window(position))
            }
        }
    }
}

/// A window as the fields say it: in whole seconds, and never more than is true.
fn allowance(window: &QuotaWindow) -> Allowance {
    let (tokens, period) = (window.tokens(), window.period());
    let seconds = period.as_secs() + u64::from(period.subsec_nanos() > 0);
    let in_seconds = u128::from(tokens) * u128::from(seconds) * 1_000_000_000 / period.as_nanos();
    let quota = u64::try_from(in_seconds).unwrap_or(u64::MAX).min(backpressure_core::MAX_TOKENS);
    Allowance { name: name(period).into(), quota, window: Some(seconds) }
}

/// The name of a policy in the fields: that of its layer and of its window, so that nested layers have no two policies
/// of one name. Characters that a string of a structured field has not, or only escaped, become `_`.
fn policy_name(layer: &str, window: &str) -> String {
    let is_plain = |it: char| matches!(it, ' '..='~') && !matches!(it, '"' | '\\');
    let layer: String = layer.chars().map(|it| if is_plain(it) { it } else { '_' }).collect();
    format!("{layer}-{window}")
}

/// The name of a window by its period: `second`, `minute`, `hour`, `day`, or for example `10s` and `100ms`.
pub(super) fn name(period: Duration) -> String {
    let nanos = period.as_nanos();
    let units = [(86_400_000_000_000, "d"), (3_600_000_000_000, "h"), (60_000_000_000, "min")];
    let more = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let names = ["day", "hour", "minute", "second"];
    for (index, (unit, short)) in units.into_iter().chain(more).enumerate() {
        match (nanos / unit, nanos % unit, names.get(index)) {
            (1, 0, Some(name)) => return (*name).to_owned(),
            (count @ 1.., 0, _) => return format!("{count}{short}"),
            _ => {}
        }
    }
    unreachable!("a period is a whole number of nanoseconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_named_by_their_periods() {
        let names = [
            (1_000, "second"),
            (60_000, "minute"),
            (3_600_000, "hour"),
            (86_400_000, "day"),
            (10_000, "10s"),
            (90_000, "90s"),
            (7_200_000, "2h"),
            (2_592_000_000, "30d"),
            (1_500, "1500ms"),
        ];
        for (millis, expected) in names {
            assert_eq!(name(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn the_name_of_a_policy_needs_no_escapes() {
        let said = |layer, quota| {
            Plan::new(layer, "default", quota).policies.field.to_str().expect("text").to_owned()
        };
        let quota = Quota::per_day(1);
        assert_eq!(said("a \"b\\\u{e9}\n", quota), r#""a _b___-day";q=1;w=86400"#);
        assert_eq!(said("", Quota::unlimited()), "");
    }

    #[test]
    fn a_window_that_is_no_whole_number_of_seconds_is_said_as_one_that_is() {
        let said = |tokens, millis| {
            let quota = Quota::per(tokens, Duration::from_millis(millis));
            Plan::new("api", "default", quota).policies.field.to_str().expect("text").to_owned()
        };
        assert_eq!(said(10, 100), r#""api-100ms";q=100;w=1"#);
        assert_eq!(said(10, 1_500), r#""api-1500ms";q=13;w=2"#);
        assert_eq!(said(10, 60_000), r#""api-minute";q=10;w=60"#);
    }
}
