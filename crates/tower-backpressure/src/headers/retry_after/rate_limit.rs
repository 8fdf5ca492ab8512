//! The time at which a rate limit is reset, from the RateLimit fields of all drafts and the vendors'.
//!
//! They say when there is more quota, and so when to come back, only where none remains.

use http::header::{HeaderMap, HeaderName};

use super::value::{self, Unit, Value};
use super::{Clock, LONGEST_QUOTA, age, is_in_millis, text};

/// draft-ietf-httpapi-ratelimit-headers, from draft 07 on.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The latest reset of a limit of which nothing remains; `None` where there is none in the future.
pub(super) fn reset(headers: &HeaderMap, clock: Clock) -> Option<Value> {
    // The fields of a cached response describe the past.
    if !age(headers).is_zero() {
        return None;
    }
    let limits = headers.iter().filter(|(name, _)| is_about_a_limit(name.as_str()));
    let resets = limits.filter_map(|(name, value)| {
        let (name, text) = (name.as_str(), text(value)?);
        if name == RATE_LIMIT {
            return from_list(text, clock).max(from_pairs(text, clock));
        }
        if !name.contains("reset") {
            return from_pairs(text, clock);
        }
        let unit = if is_in_millis(name) { Unit::Milliseconds } else { Unit::Seconds };
        is_of_used_up_limit(name, headers).then(|| value::parse(text, unit, clock))?
    });
    // A longer time is a number of another meaning, or a Unix time that is long past.
    let is_ahead = |value: &Value| match value {
        Value::Delay(delay) => !delay.is_zero() && *delay <= LONGEST_QUOTA,
        Value::Never => false,
    };
    resets.filter(is_ahead).max()
}

/// Whether the reset of this name is that of a limit of which nothing remains. Drafts up to 06 and all vendors name
/// both fields alike: `x-ratelimit-reset` and `x-ratelimit-remaining`, `x-ratelimit-reset-tokens` and
/// `x-ratelimit-remaining-tokens`. Where a server does not say what remains, its response does.
fn is_of_used_up_limit(name: &str, headers: &HeaderMap) -> bool {
    let remaining = name.replace("resets-after", "reset").replace("reset-after", "reset");
    let remaining = remaining.replace("reset", "remaining");
    is_used_up_by_lines(headers, &remaining).unwrap_or_else(|| is_any_used_up(headers))
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
        is_about_a_limit(name) && (name.contains("remaining") || name.ends_with("-left"))
    };
    let remaining = headers.iter().filter(|(name, _)| says_what_remains(name));
    let any = remaining.filter_map(|(_, value)| text(value)).map(is_used_up);
    any.reduce(|any, line| any || line).unwrap_or(true)
}

fn is_about_a_limit(name: &str) -> bool {
    ["limit", "quota"].iter().any(|limit| name.contains(limit))
}

/// Less than one request, of any in the list: `0`, `0.0`, `-1`, `12, 0`, `0;w=60`.
fn is_used_up(remaining: &str) -> bool {
    remaining.split(',').filter_map(|item| item.split(';').next()).map(str::trim).any(|number| {
        number.starts_with('-') || number.parse::<f64>().is_ok_and(|number| number < 1.0)
    })
}

/// `"default";r=0;t=30, …`: from draft 08 on.
fn from_list(text: &str, clock: Clock) -> Option<Value> {
    let resets = split(text, |byte| byte == b',').filter_map(|item| {
        let parameters = || split(item, |byte| byte == b';').skip(1);
        reset_of(find(parameters(), &["r"]), find(parameters(), &["t"]), clock)
    });
    resets.max()
}

/// `limit=100, remaining=0, reset=50`: draft 07, and vendors with semicolons.
fn from_pairs(text: &str, clock: Clock) -> Option<Value> {
    let pairs = || split(text, |byte| matches!(byte, b',' | b';'));
    reset_of(find(pairs(), &["remaining"]), find(pairs(), &["reset", "resets"]), clock)
}

fn reset_of(remaining: Option<&str>, reset: Option<&str>, clock: Clock) -> Option<Value> {
    is_used_up(remaining?).then(|| value::parse(reset?, Unit::Seconds, clock))?
}

/// RFC 9651, section 3.1.2: of two parameters with one key the last counts.
fn find<'a>(pairs: impl Iterator<Item = &'a str>, keys: &[&str]) -> Option<&'a str> {
    let values = pairs.filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        keys.contains(&key).then_some(value)
    });
    values.last()
}

/// The parts between separators that are in no quoted string, in which `\\` escapes a quote.
fn split(text: &str, is_separator: impl Fn(u8) -> bool) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character: char| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match character {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted && u8::try_from(character).is_ok_and(&is_separator)
    })
}
