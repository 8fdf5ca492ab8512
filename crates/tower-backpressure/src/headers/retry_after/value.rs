//! One value of a field that names a delay, in the forms that servers use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{date, decimal, until};

/// What a value asks for. `Never` is the longest delay of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Delay(Duration),
    /// A negative delay: "do not retry" (gRPC, and webhook senders).
    Never,
}

/// A number this large may be a Unix time: as a delay it would be 31 years.
const MIN_UNIX_TIME: u64 = 1_000_000_000;
/// A Unix time is no further in the past than a client's clock may be wrong, and no further ahead than a
/// quota may last. Any other large number is a delay, and too long.
const UNIX_TIME_RANGE: (Duration, Duration) =
    (Duration::from_secs(86_400), Duration::from_secs(366 * 86_400));

/// The longest of a list of values. A part that cannot be understood is ignored beside one that can.
pub(super) fn parse_list(text: &str, sent: SystemTime) -> Option<Value> {
    if let Some(value) = parse(text, sent) {
        return Some(value);
    }
    // A date needs no weekday, so that the comma after one makes no difference.
    text.split(',').filter_map(|part| parse(part, sent)).max()
}

/// A single value: seconds, a Unix time, a duration or a date.
pub(super) fn parse(text: &str, sent: SystemTime) -> Option<Value> {
    let text = without_quotes(text.trim());
    if let Some(positive) = text.strip_prefix('-') {
        return decimal::parse(positive).map(negative);
    }
    let delay = decimal::parse(text)
        .map(|seconds| unix_time(seconds, sent).unwrap_or(seconds))
        .or_else(|| parse_duration(text))
        .or_else(|| parse_clock(text))
        .or_else(|| Some(until(date::parse_tolerantly(text, sent)?, sent)))?;
    Some(Value::Delay(delay))
}

/// A number of milliseconds, or a duration with units; negative for "do not retry".
pub(super) fn parse_millis(text: &str) -> Option<Value> {
    let text = without_quotes(text);
    if let Some(positive) = text.strip_prefix('-') {
        return decimal::parse(positive).map(negative);
    }
    let millis = decimal::parse(text).map(|number| {
        // A number that is divided must not become shorter.
        let nanos = number.as_nanos().div_ceil(1_000);
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    });
    millis.or_else(|| parse_duration(text)).map(Value::Delay)
}

/// gRPC proposal A6: a number that is negative or cannot be parsed forbids a retry.
pub(super) fn parse_pushback(text: &str) -> Value {
    let millis = text.parse::<i32>().ok().and_then(|millis| u64::try_from(millis).ok());
    millis.map_or(Value::Never, |millis| Value::Delay(Duration::from_millis(millis)))
}

fn without_quotes(text: &str) -> &str {
    let within = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

fn negative(amount: Duration) -> Value {
    if amount.is_zero() { Value::Delay(amount) } else { Value::Never }
}

/// The delay until a Unix time in seconds, milliseconds, microseconds or nanoseconds, if the number is one.
fn unix_time(number: Duration, sent: SystemTime) -> Option<Duration> {
    if number.as_secs() < MIN_UNIX_TIME {
        return None;
    }
    let (earliest, latest) =
        (sent.checked_sub(UNIX_TIME_RANGE.0)?, sent.checked_add(UNIX_TIME_RANGE.1)?);
    let scales = [1, 1_000, 1_000_000, 1_000_000_000];
    let mut times = scales.iter().filter_map(|&scale| UNIX_EPOCH.checked_add(number / scale));
    let time = times.find(|time| (earliest..=latest).contains(time))?;
    Some(until(time, sent))
}

/// Numbers with units, such as `1h23m31s`, `500 ms`, `30 seconds` and `PT1M30S`.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    // ISO 8601 durations: P begins one, and T stands before the hours.
    let text = text.strip_prefix('p').map_or(text.clone(), |rest| rest.replace('t', ""));
    let (mut rest, mut sum) = (text.trim(), Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        let (number, after) = split_while(rest, is_number);
        let (unit, after) = split_while(after.trim_start(), |byte| byte.is_ascii_alphabetic());
        let amount = decimal::parse(number)?;
        sum = sum.saturating_add(in_unit(amount, unit)?);
        rest = after.trim_start();
    }
    Some(sum)
}

/// Hours, minutes and seconds, with days before them: `00:01:30`, `1.02:00:00.5`, as .NET and Python write a time span.
fn parse_clock(text: &str) -> Option<Duration> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")];
    parts.into_iter().try_fold(Duration::ZERO, |sum, (amount, unit)| {
        Some(sum.saturating_add(in_unit(decimal::parse(amount)?, unit)?))
    })
}

fn in_unit(amount: Duration, unit: &str) -> Option<Duration> {
    Some(match unit {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => amount / 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => amount,
        "m" | "min" | "mins" | "minute" | "minutes" => amount.saturating_mul(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => amount.saturating_mul(3_600),
        "w" | "week" | "weeks" => amount.saturating_mul(7 * 86_400),
        "d" | "day" | "days" => amount.saturating_mul(86_400),
        _ => return None,
    })
}

fn split_while(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}
