//! One value of a field that names a delay, in the forms that servers use.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Clock, date, decimal};

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

/// What a plain number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

impl Unit {
    /// A number that is divided must not become shorter.
    fn of(self, number: Duration) -> Duration {
        match self {
            Self::Seconds => number,
            Self::Milliseconds => divide_rounding_up(number, 1_000),
        }
    }
}

/// The longest of a list of values. A part that cannot be understood is ignored beside one that can.
pub(super) fn parse_list(text: &str, unit: Unit, clock: Clock) -> Option<Value> {
    let whole = parse(text, unit, clock).or_else(|| parse_words(text).map(Value::Delay));
    // A date needs no weekday, so that the comma after one makes no difference.
    whole.or_else(|| text.split(',').filter_map(|part| parse(part, unit, clock)).max())
}

/// A single value: a number, a Unix time, a duration or a date; negative for "do not retry".
pub(super) fn parse(text: &str, unit: Unit, clock: Clock) -> Option<Value> {
    let text = without_quotes(without_parameters(text));
    if let Some(positive) = without_sign(text) {
        return parse_amount(&positive, unit, clock).map(negative);
    }
    let delay = parse_amount(text, unit, clock)
        .or_else(|| Some(clock.until(parse_unix_date(text)?)))
        .or_else(|| Some(clock.until(date::parse_tolerantly(text, clock.sent)?)))?;
    Some(Value::Delay(delay))
}

/// A number or a duration.
fn parse_amount(text: &str, unit: Unit, clock: Clock) -> Option<Duration> {
    let number = decimal::parse(text);
    let number = number.map(|number| unix_time(number, clock).unwrap_or_else(|| unit.of(number)));
    number.or_else(|| parse_duration(text)).or_else(|| parse_clock(text))
}

/// gRPC proposal A6: a number that is negative or cannot be parsed forbids a retry.
pub(super) fn parse_pushback(text: &str) -> Value {
    let millis = text.parse::<i32>().ok().and_then(|millis| u64::try_from(millis).ok());
    millis.map_or(Value::Never, |millis| Value::Delay(Duration::from_millis(millis)))
}

/// A value without the parameters that structured fields allow after one, and without a comment.
fn without_parameters(text: &str) -> &str {
    text.split([';', '(']).next().unwrap_or_default().trim()
}

/// The amount of a negative value; `None` for another. Java writes the sign behind the designator: `PT-30S`.
fn without_sign(text: &str) -> Option<Cow<'_, str>> {
    if let Some(positive) = text.strip_prefix('-') {
        return Some(Cow::Borrowed(positive.trim_start()));
    }
    let is_iso = text.starts_with(['P', 'p']) && text.contains('-');
    is_iso.then(|| Cow::Owned(text.replace('-', "")))
}

fn without_quotes(text: &str) -> &str {
    let within = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

fn negative(amount: Duration) -> Value {
    if amount.is_zero() { Value::Delay(amount) } else { Value::Never }
}

/// A date of RFC 9651, section 3.3.7: `@1795248030`.
fn parse_unix_date(text: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(decimal::parse(text.strip_prefix('@')?)?)
}

/// The delay until a Unix time in seconds, milliseconds, microseconds or nanoseconds, if the number is one.
fn unix_time(number: Duration, clock: Clock) -> Option<Duration> {
    if number.as_secs() < MIN_UNIX_TIME {
        return None;
    }
    let (earliest, latest) =
        (clock.sent.checked_sub(UNIX_TIME_RANGE.0)?, clock.sent.checked_add(UNIX_TIME_RANGE.1)?);
    let scales = [1, 1_000, 1_000_000, 1_000_000_000];
    let mut times = scales.iter().filter_map(|&scale| UNIX_EPOCH.checked_add(number / scale));
    let time = times.find(|time| (earliest..=latest).contains(time))?;
    Some(clock.until(time))
}

/// Numbers with units, such as `1h23m31s`, `500 ms`, `30 seconds` and `PT1M30S`.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let Some(iso) = text.strip_prefix('p') else {
        return sum(&amounts(&text)?);
    };
    // ISO 8601: before the T an M is a month, and behind it a minute. The decimal point may be a comma.
    let (date, time) = iso.split_once('t').unwrap_or((iso, ""));
    let iso = format!("{}{time}", date.replace('m', "month")).replace(',', ".");
    sum(&amounts(&iso)?)
}

/// A duration as it is told to people: `1 minute, 30 seconds`, `1 minute and 30 seconds`. Units that do not become
/// smaller are a list of durations.
fn parse_words(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase().replace(',', " ").replace(" and ", " ");
    let amounts = amounts(&text)?;
    amounts.is_sorted_by(|(before, _), (after, _)| before > after).then(|| sum(&amounts))?
}

/// The units of a text, as the time that one of each takes, and how long each amount is.
fn amounts(text: &str) -> Option<Vec<(Duration, Duration)>> {
    let (mut rest, mut amounts) = (text.trim(), Vec::new());
    while !rest.is_empty() {
        let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        let (number, after) = split_while(rest, is_number);
        let (unit, after) = split_while(after.trim_start(), |byte| byte.is_ascii_alphabetic());
        let amount = decimal::parse(number)?;
        amounts.push((in_unit(Duration::from_secs(1), unit)?, in_unit(amount, unit)?));
        rest = after.trim_start();
    }
    Some(amounts)
}

/// `None` where there is nothing to add.
fn sum(amounts: &[(Duration, Duration)]) -> Option<Duration> {
    amounts.iter().map(|(_, amount)| *amount).reduce(Duration::saturating_add)
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
        "ns" | "nanosecond" | "nanoseconds" => divide_rounding_up(amount, 1_000_000_000),
        "us" | "microsecond" | "microseconds" => divide_rounding_up(amount, 1_000_000),
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => {
            divide_rounding_up(amount, 1_000)
        }
        "s" | "sec" | "secs" | "second" | "seconds" => amount,
        "m" | "min" | "mins" | "minute" | "minutes" => amount.saturating_mul(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => amount.saturating_mul(3_600),
        "w" | "week" | "weeks" => amount.saturating_mul(7 * 86_400),
        "d" | "day" | "days" => amount.saturating_mul(86_400),
        // The shortest of each.
        "month" | "months" => amount.saturating_mul(28 * 86_400),
        "y" | "year" | "years" => amount.saturating_mul(365 * 86_400),
        _ => return None,
    })
}

fn divide_rounding_up(amount: Duration, divisor: u32) -> Duration {
    let nanos = amount.as_nanos().div_ceil(u128::from(divisor));
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

fn split_while(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}
