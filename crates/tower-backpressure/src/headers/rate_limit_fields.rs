//! Writing what a quota allows and what is left of it: the RateLimit fields
//! (draft-ietf-httpapi-ratelimit-headers-11) and the `X-RateLimit-*` fields before them.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Which fields tell a client about its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitFields {
    /// None but `Retry-After`.
    None,
    /// `RateLimit-Policy` and `RateLimit`, as of draft 11: the default.
    #[default]
    Draft11,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, in seconds from now, of the window with
    /// the least left.
    Legacy,
    /// Both.
    Both,
}

/// What one window, or the number of requests at once, allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) name: Box<str>,
    pub(crate) quota: u64,
    /// Seconds; `None`: of requests at once.
    pub(crate) window: Option<u64>,
}

/// What is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) remaining: u64,
    /// When there is more; `None`: all is left, or the moment is unknown.
    pub(crate) more_in: Option<Duration>,
}

impl RateLimitFields {
    pub(crate) const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    const fn has_draft(self) -> bool {
        matches!(self, Self::Draft11 | Self::Both)
    }

    const fn has_legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::Both)
    }

    /// Adds the fields to a response. Those of the draft are lists, to which an inner layer may have added its own.
    pub(crate) fn write(
        self,
        headers: &mut HeaderMap,
        policy: &HeaderValue,
        parts: &[(&Allowance, Left)],
    ) {
        if self.has_draft() && !policy.is_empty() {
            headers.append(POLICY, policy.clone());
            if !parts.is_empty() {
                headers.append(LIMIT, limit_field(parts));
            }
        }
        let scarcest = parts.iter().min_by_key(|(allowance, left)| {
            // In thousandths: a window of ten with one left is as scarce as one of a thousand with a hundred.
            u128::from(left.remaining) * 1_000 / u128::from(allowance.quota.max(1))
        });
        if let Some((allowance, left)) = scarcest.filter(|_| self.has_legacy()) {
            let numbers = [
                ("x-ratelimit-limit", allowance.quota),
                ("x-ratelimit-remaining", left.remaining),
                ("x-ratelimit-reset", seconds(left.more_in.unwrap_or_default())),
            ];
            for (name, number) in numbers {
                headers.entry(name).or_insert_with(|| HeaderValue::from(number));
            }
        }
    }
}

/// `"second";q=10;w=1, "concurrent";q=4;qu="concurrent-requests"`; empty where nothing is limited.
pub(crate) fn policy_field(allowances: &[Allowance]) -> HeaderValue {
    let mut text = String::new();
    for Allowance { name, quota, window } in allowances {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match window {
            Some(window) => write!(text, r#"{separator}"{name}";q={quota};w={window}"#),
            None => write!(text, r#"{separator}"{name}";q={quota};qu="concurrent-requests""#),
        };
    }
    HeaderValue::try_from(text).expect("names of windows are visible ASCII")
}

/// `"second";r=3;t=1`.
fn limit_field(parts: &[(&Allowance, Left)]) -> HeaderValue {
    let mut text = String::with_capacity(32 * parts.len());
    for (Allowance { name, .. }, Left { remaining, more_in }) in parts {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, r#"{separator}"{name}";r={remaining}"#);
        if let Some(more_in) = more_in {
            let _ = write!(text, ";t={}", seconds(*more_in));
        }
    }
    HeaderValue::try_from(text).expect("names of windows are visible ASCII")
}

/// Rounded up, and at most what an integer of a structured field can say.
fn seconds(span: Duration) -> u64 {
    let seconds = span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0));
    seconds.min(backpressure_core::MAX_TOKENS)
}
