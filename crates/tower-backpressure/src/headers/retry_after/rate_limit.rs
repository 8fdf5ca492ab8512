//! The time at which a rate limit is reset, from the RateLimit fields of all drafts and the vendors'.
//!
//! They say when there is more quota, and so when to come back, only where none remains.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName};

use super::value::{self, Value};
use super::{age, text};

/// draft-ietf-httpapi-ratelimit-headers, from draft 07 on.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// No quota lasts longer than a leap year. A longer time until a reset is a number of another meaning, or a
/// Unix time that is long past.
const MAX_RESET: Duration = Duration::from_secs(366 * 86_400);

/// The latest reset of a limit of which nothing remains; `None` where there is none in the future.
pub(super) fn reset(headers: &HeaderMap, sent: SystemTime) -> Option<Value> {
    // The fields of a cached response describe the past.
    if !age(headers).is_zero() {
        return None;
    }
    let standard = headers.get_all(RATE_LIMIT).iter().filter_map(text);
    let standard =
        standard.filter_map(|text| from_list(text, sent).max(from_dictionary(text, sent)));
    let by_name = headers.iter().filter_map(|(name, value)| {
        let reset = is_reset_of_used_up_limit(name.as_str(), headers).then(|| text(value))??;
        value::parse(reset, sent)
    });
    let is_ahead = |value: &Value| match value {
        Value::Delay(delay) => !delay.is_zero() && *delay <= MAX_RESET,
        Value::Never => false,
    };
    standard.chain(by_name).filter(is_ahead).max()
}

/// Whether the field is the reset of a limit of which nothing remains. Drafts up to 06 and all vendors name
/// both fields alike: `x-ratelimit-reset` and `x-ratelimit-remaining`, `x-ratelimit-reset-tokens` and
/// `x-ratelimit-remaining-tokens`. Where a server does not say what remains, its response does.
fn is_reset_of_used_up_limit(name: &str, headers: &HeaderMap) -> bool {
    let is_reset = is_about_a_limit(name) && name.contains("reset");
    let remaining = || name.replace("reset-after", "reset").replace("reset", "remaining");
    is_reset
        && is_used_up_by_lines(headers, &remaining()).unwrap_or_else(|| is_any_used_up(headers))
}

/// Whether a line of the field says that nothing remains; `None` without such a field.
fn is_used_up_by_lines(headers: &HeaderMap, name: &str) -> Option<bool> {
    let lines = headers.get_all(name).iter().filter_map(text);
    lines.map(is_used_up).reduce(|any, line| any || line)
}

/// Whether any limit of the response is used up, for a reset without a field beside it that says what remains of its
/// own limit. A response that says of no limit what remains tells by being a rejection.
fn is_any_used_up(headers: &HeaderMap) -> bool {
    let says_what_remains = |name: &HeaderName| {
        let name = name.as_str();
        is_about_a_limit(name) && name.contains("remaining")
    };
    let remaining = headers.iter().filter(|(name, _)| says_what_remains(name));
    let any = remaining.filter_map(|(_, value)| text(value)).map(is_used_up);
    any.reduce(|any, line| any || line).unwrap_or(true)
}

fn is_about_a_limit(name: &str) -> bool {
    ["ratelimit", "rate-limit"].iter().any(|limit| name.contains(limit))
}

/// Less than one request, of any in the list: `0`, `0.0`, `-1`, `12, 0`.
fn is_used_up(remaining: &str) -> bool {
    remaining.split(',').map(str::trim).any(|number| {
        number.starts_with('-') || number.parse::<f64>().is_ok_and(|number| number < 1.0)
    })
}

/// `"default";r=0;t=30, …`: from draft 08 on.
fn from_list(text: &str, sent: SystemTime) -> Option<Value> {
    let resets = text.split(',').filter_map(|item| {
        let parameters = || item.split(';').skip(1);
        let remaining = find(parameters(), "r")?;
        if is_used_up(remaining) { value::parse(find(parameters(), "t")?, sent) } else { None }
    });
    resets.max()
}

/// `limit=100, remaining=0, reset=50`: draft 07.
fn from_dictionary(text: &str, sent: SystemTime) -> Option<Value> {
    let members = || text.split(',');
    let remaining = find(members(), "remaining")?;
    if is_used_up(remaining) { value::parse(find(members(), "reset")?, sent) } else { None }
}

fn find<'a>(mut pairs: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    pairs.find_map(|pair| pair.trim().strip_prefix(key)?.strip_prefix('='))
}
