//! Writing what a quota allows and what is left of it: the RateLimit fields
//! (draft-ietf-httpapi-ratelimit-headers-11) and the `X-RateLimit-*` fields before them.

use std::fmt::{self, Write};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

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

/// What a layer allows, and the field that tells it.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    pub(crate) allowances: Vec<Allowance>,
    /// Of the first turn.
    pub(crate) field: HeaderValue,
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
        policies: &Policies,
        parts: &[(&Allowance, Left)],
    ) {
        if self.has_draft() && !policies.allowances.is_empty() {
            let turn = policies.turn(headers);
            headers.append(POLICY, policies.in_turn(turn));
            if !parts.is_empty() {
                headers.append(LIMIT, limit_field(parts, turn));
            }
        }
        if self.has_legacy() {
            write_legacy(headers, parts);
        }
    }
}

/// There is one of each of these fields: of all windows, and those that an inner layer or the service has told, the
/// scarcest is told.
fn write_legacy(headers: &mut HeaderMap, parts: &[(&Allowance, Left)]) {
    let scarcity_of =
        |(allowance, left): &&(&Allowance, Left)| scarcity(left.remaining, allowance.quota);
    let Some(&(allowance, left)) = parts.iter().min_by_key(scarcity_of) else { return };
    let told = [X_LIMIT, X_REMAINING].map(|name| number(headers, &name));
    let is_scarcer = match told {
        [Some(limit), Some(remaining)] => {
            scarcity(left.remaining, allowance.quota) < scarcity(remaining, limit)
        }
        // Fields of another form are left as they are.
        _ => ![X_LIMIT, X_REMAINING, X_RESET].iter().any(|name| headers.contains_key(name)),
    };
    if is_scarcer {
        headers.insert(X_LIMIT, allowance.quota.into());
        headers.insert(X_REMAINING, left.remaining.into());
        headers.insert(X_RESET, seconds(left.more_in.unwrap_or_default()).into());
    }
}

/// In thousandths: a window of ten with one left is as scarce as one of a thousand with a hundred.
fn scarcity(remaining: u64, quota: u64) -> u128 {
    u128::from(remaining) * 1_000 / u128::from(quota.max(1))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

impl Policies {
    pub(crate) fn new(allowances: Vec<Allowance>) -> Self {
        let field = policy_field(&allowances, Turn::FIRST);
        Self { allowances, field }
    }

    /// Names are unique in a list. A layer inside or another service may have told policies of the same names.
    fn turn(&self, told: &HeaderMap) -> Turn {
        if !told.contains_key(POLICY) && !told.contains_key(LIMIT) {
            return Turn::FIRST;
        }
        let told = || told.get_all(POLICY).iter().chain(told.get_all(LIMIT));
        let is_told = |name: &str| {
            told().any(|line| line.as_bytes().windows(name.len()).any(|it| it == name.as_bytes()))
        };
        let is_free = |turn: &Turn| {
            !self.allowances.iter().any(|it| is_told(&format!(r#""{}{turn}""#, it.name)))
        };
        (1..).map(Turn).find(is_free).expect("a field has fewer names than there are numbers")
    }

    fn in_turn(&self, turn: Turn) -> HeaderValue {
        match turn {
            Turn::FIRST => self.field.clone(),
            _ => policy_field(&self.allowances, turn),
        }
    }
}

/// Which of several layers of one name tells its policies: what follows their names.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn(usize);

impl Turn {
    const FIRST: Self = Self(1);
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FIRST => Ok(()),
            Self(number) => write!(f, "-{number}"),
        }
    }
}

/// `"api-second";q=10;w=1, "api-concurrent";q=4;qu="concurrent-requests"`; empty where nothing is limited.
fn policy_field(allowances: &[Allowance], turn: Turn) -> HeaderValue {
    let mut text = String::new();
    for Allowance { name, quota, window } in allowances {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match window {
            Some(window) => write!(text, r#"{separator}"{name}{turn}";q={quota};w={window}"#),
            None => {
                write!(text, r#"{separator}"{name}{turn}";q={quota};qu="concurrent-requests""#)
            }
        };
    }
    HeaderValue::try_from(text).expect("names of windows are visible ASCII")
}

/// `"api-second";r=3;t=1`.
fn limit_field(parts: &[(&Allowance, Left)], turn: Turn) -> HeaderValue {
    let mut text = String::with_capacity(32 * parts.len());
    for (Allowance { name, .. }, Left { remaining, more_in }) in parts {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, r#"{separator}"{name}{turn}";r={remaining}"#);
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
