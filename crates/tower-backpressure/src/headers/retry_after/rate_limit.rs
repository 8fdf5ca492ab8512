//! The time at which a rate limit is reset, from the RateLimit fields of all drafts and the vendors'.
//!
//! They say when there is more quota, and so when to come back, only where none remains.

use std::time::SystemTime;

use http::header::{HeaderMap, HeaderName};

use super::value::{self, Value};
use super::{age, text};

/// draft-ietf-httpapi-ratelimit-headers, from draft 07 on.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Fields of what remains and of when it is reset: of drafts up to 06, of GitHub and many others, of X,
/// and of OpenAI.
const PAIRS: [(&str, &str); 5] = [
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
];

/// The latest reset of a limit of which nothing remains.
pub(super) fn reset(headers: &HeaderMap, sent: SystemTime) -> Option<Value> {
    // The fields of a cached response describe the past.
    if !age(headers).is_zero() {
        return None;
    }
    let standard = headers.get_all(RATE_LIMIT).iter().filter_map(text);
    let standard =
        standard.filter_map(|text| from_list(text, sent).max(from_dictionary(text, sent)));
    let pairs = PAIRS.iter().filter_map(|&(remaining, reset)| {
        let is_used_up = headers.get(remaining).is_none_or(|left| left == "0");
        let reset = headers.get(reset).filter(|_| is_used_up)?;
        value::parse(text(reset)?, sent)
    });
    standard.chain(pairs).filter(|value| matches!(value, Value::Delay(_))).max()
}

/// `"default";r=0;t=30, …`: from draft 08 on.
fn from_list(text: &str, sent: SystemTime) -> Option<Value> {
    let resets = text.split(',').filter_map(|item| {
        let parameters = || item.split(';').skip(1);
        let remaining = find(parameters(), "r")?;
        if remaining == "0" { value::parse(find(parameters(), "t")?, sent) } else { None }
    });
    resets.max()
}

/// `limit=100, remaining=0, reset=50`: draft 07.
fn from_dictionary(text: &str, sent: SystemTime) -> Option<Value> {
    let members = || text.split(',');
    let remaining = find(members(), "remaining")?;
    if remaining == "0" { value::parse(find(members(), "reset")?, sent) } else { None }
}

fn find<'a>(mut pairs: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    pairs.find_map(|pair| pair.trim().strip_prefix(key)?.strip_prefix('='))
}
