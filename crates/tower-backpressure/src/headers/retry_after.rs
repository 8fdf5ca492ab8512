//! Parses what a response says about the time of a retry. Other modules decide which value a server
//! sends and how a client waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AGE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

mod date;
mod decimal;
mod rate_limit;
mod retry_info;
mod value;

use self::value::{Unit, Value};

/// When a server asks for a retry, as a bounded delay, for a client with a retry loop of its own.
///
/// [`from_headers`](Self::from_headers) understands what servers send, and not only what RFC 9110
/// allows. A value that it does not understand is a delay of [`UNREADABLE`](Self::UNREADABLE), since a
/// server that asks for a delay never means "at once". [`strict`](Self::strict) takes RFC 9110 to the
/// letter.
///
/// ```
/// use http::HeaderMap;
/// use std::time::{Duration, SystemTime};
/// use tower_backpressure::RetryAfter;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "120".parse()?);
/// let retry_after = RetryAfter::from_headers(&headers, SystemTime::now()).expect("a value");
/// assert_eq!(retry_after.delay(), Duration::from_secs(120));
///
/// headers.insert("retry-after", "1m30s".parse()?);
/// let retry_after = RetryAfter::from_headers(&headers, SystemTime::now()).expect("a value");
/// assert_eq!(retry_after.delay(), Duration::from_secs(90));
///
/// headers.insert("retry-after", "99999999999999999999".parse()?);
/// let retry_after = RetryAfter::from_headers(&headers, SystemTime::now()).expect("a value");
/// assert_eq!(retry_after.delay(), RetryAfter::MAX);
/// assert!(retry_after.is_capped());
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryAfter {
    delay: Duration,
    capped: bool,
    forbids_retry: bool,
}

/// Fields by which a server says whether to retry at all: of OpenAI, and of Stripe.
const SHOULD_RETRY_FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("x-should-retry"), HeaderName::from_static("stripe-should-retry")];
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

impl RetryAfter {
    /// The longest delay that is returned: ten minutes. A longer one does not describe an overload, and a
    /// client that obeyed an absurd one would sleep for years.
    pub const MAX: Duration = Duration::from_secs(600);

    /// The delay for a value that is present and cannot be understood: the shortest that a whole
    /// number of seconds can ask for.
    pub const UNREADABLE: Duration = Duration::from_secs(1);

    /// Most forms of the field count in whole seconds. Clients that got the same value may have been
    /// expected up to this much apart.
    pub(crate) const RESOLUTION: Duration = Duration::from_secs(1);

    /// Parses the fields by which servers ask for a delay; `None` where there are none.
    ///
    /// `now` is the time at which the response arrived. It is used for a date in a response without a
    /// `Date` field, and to complete a two-digit year.
    ///
    /// | field | values |
    /// |---|---|
    /// | `Retry-After`, and names that end in it or in `retry-after-seconds` | seconds (`120`, `1.5`), a date (RFC 9110, with another zone or case, in twelve hours with `AM` or `PM`, ISO 8601 in its extended and basic forms, `@1795248030`, or as languages print one), a duration (`30s`, `1m0s`, `1 minute and 30 seconds`, `PT30S`, `P1M`, `00:01:30`), a Unix time in seconds or finer near the present, and lists of them; parameters and a comment behind a value are ignored |
    /// | names that end in `retry-after-ms`, `x-amz-retry-after` | milliseconds |
    /// | `grpc-retry-pushback-ms` | milliseconds; negative, invalid or several: no retry (gRPC proposal A6) |
    /// | `grpc-status-details-bin` | the delay of a `google.rpc.RetryInfo` in it |
    /// | `RateLimit` (all drafts), `X-RateLimit-Reset` and its relatives | the time of the reset, where nothing remains and no field above is there |
    /// | `x-should-retry`, `stripe-should-retry` | `false`: no retry |
    ///
    /// Of several values the longest counts. A negative number or duration (`-1`, `PT-30S`) means "do not retry". A
    /// date is counted from the response's `Date` and `Age`, so that a difference between the two clocks does not matter.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        if says(headers, false) {
            return Some(Self::no_retry());
        }
        let clock = Clock::of(headers, now, date::parse_tolerantly);
        match told(headers, clock) {
            Told::Value(value) => Some(Self::of(value)),
            told => match rate_limit::reset(headers, clock) {
                Some(value) => Some(Self::of(value)),
                None => matches!(told, Told::Unreadable).then(|| Self::new(Self::UNREADABLE)),
            },
        }
    }

    /// Parses `Retry-After` by RFC 9110, section 10.2.3, alone: a number of seconds, or a date in any of
    /// the three formats of section 5.6.7. A value in neither form is ignored.
    #[must_use]
    pub fn strict(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let clock = Clock::of(headers, now, date::parse);
        let values = headers.get_all(RETRY_AFTER).iter();
        values.filter_map(|value| parse_strictly(text(value)?, clock)).max()
    }

    /// The time to wait from the arrival of the response: zero for a time in the past, at most
    /// [`MAX`](Self::MAX).
    #[must_use]
    pub const fn delay(self) -> Duration {
        self.delay
    }

    /// Whether the server asked for more than [`delay`](Self::delay) returns.
    #[must_use]
    pub const fn is_capped(self) -> bool {
        self.capped
    }

    /// Whether the server asked for no retry at all. [`delay`](Self::delay) is [`MAX`](Self::MAX) then.
    #[must_use]
    pub const fn forbids_retry(self) -> bool {
        self.forbids_retry
    }

    fn new(delay: Duration) -> Self {
        let capped = delay > Self::MAX;
        Self { delay: delay.min(Self::MAX), capped, forbids_retry: false }
    }

    const fn no_retry() -> Self {
        Self { delay: Self::MAX, capped: true, forbids_retry: true }
    }

    fn of(value: Value) -> Self {
        match value {
            Value::Delay(delay) => Self::new(delay),
            Value::Never => Self::no_retry(),
        }
    }
}

/// What the fields that name a delay say, all together.
enum Told {
    Nothing,
    Unreadable,
    Value(Value),
}

/// Of Django REST framework.
const THROTTLE_WAIT: &str = "x-throttle-wait-seconds";

/// What a field counts that is `Retry-After` under any of the names that servers give it: `x-retry-after`,
/// `beta-retry-after`, `retry_after`, `x-rate-limit-retry-after-seconds`, `retry-after-ms`, `x-ms-retry-after-ms`. `None` for
/// another field.
fn unit_of(name: &str) -> Option<Unit> {
    if !name.contains("retry") {
        return (name == THROTTLE_WAIT).then_some(Unit::Seconds);
    }
    let name = name.replace('_', "-").replace("retryafter", "retry-after");
    let (_, suffix) = name.rsplit_once("retry-after")?;
    match suffix {
        // AWS counts in milliseconds and does not say so.
        "" if name == "x-amz-retry-after" => Some(Unit::Milliseconds),
        "" | "-s" | "-sec" | "-seconds" | "-at" | "-date" | "-timestamp" => Some(Unit::Seconds),
        _ if is_in_millis(suffix) => Some(Unit::Milliseconds),
        _ => None,
    }
}

/// Whether a name says that its field counts milliseconds.
fn is_in_millis(name: &str) -> bool {
    ["-ms", "-millis", "-milliseconds"].iter().any(|suffix| name.ends_with(suffix))
}

fn told(headers: &HeaderMap, clock: Clock) -> Told {
    let mut told = Told::Nothing;
    let mut add = |value: Option<Value>| {
        told = match (value, &told) {
            (Some(value), Told::Value(before)) => Told::Value(value.max(*before)),
            (Some(value), _) => Told::Value(value),
            (None, Told::Nothing) => Told::Unreadable,
            (None, _) => return,
        };
    };
    for (name, field) in headers {
        if let Some(unit) = unit_of(name.as_str()) {
            add(text(field).and_then(|text| value::parse_list(text, unit, clock)));
        }
    }
    let mut pushbacks = headers.get_all(GRPC_PUSHBACK).iter();
    if let Some(first) = pushbacks.next() {
        // As grpc-go: a server that says two things says nothing that can be obeyed.
        let only = pushbacks.next().is_none().then(|| text(first)).flatten();
        add(Some(only.map_or(Value::Never, value::parse_pushback)));
    }
    if let Some(delay) = retry_info(headers) {
        add(Some(delay));
    }
    told
}

/// Whether a server says that the request should be sent again.
pub(crate) fn says_should_retry(headers: &HeaderMap) -> bool {
    says(headers, true) && !says(headers, false)
}

/// Whether a gRPC server says when a call may be sent again.
pub(crate) fn says_when_to_retry_grpc(headers: &HeaderMap) -> bool {
    headers.contains_key(GRPC_PUSHBACK) || retry_info(headers).is_some()
}

fn says(headers: &HeaderMap, should_retry: bool) -> bool {
    let mut lines = SHOULD_RETRY_FIELDS.into_iter().flat_map(|name| headers.get_all(name));
    lines.any(|value| text(value).and_then(boolean) == Some(should_retry))
}

/// A boolean as languages and RFC 9651 write it.
fn boolean(text: &str) -> Option<bool> {
    match text.trim_matches('"').to_ascii_lowercase().as_str() {
        "false" | "?0" | "0" | "no" => Some(false),
        "true" | "?1" | "1" | "yes" => Some(true),
        _ => None,
    }
}

fn retry_info(headers: &HeaderMap) -> Option<Value> {
    headers.get(GRPC_STATUS_DETAILS).and_then(text).and_then(retry_info::parse)
}

type ParseDate = fn(&str, SystemTime) -> Option<SystemTime>;

/// By what clock a date in a response is meant.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// When the origin sent the response, on its own clock: a cache adds the `Age` (RFC 9111, section 5.1).
    sent: SystemTime,
    /// When the response arrived, on the local clock.
    arrived: SystemTime,
}

impl Clock {
    fn of(headers: &HeaderMap, now: SystemTime, parse: ParseDate) -> Self {
        let date = headers.get(DATE).and_then(text).and_then(|text| parse(text, now));
        let sent = date.and_then(|date| date.checked_add(age(headers))).unwrap_or(now);
        Self { sent, arrived: now }
    }

    /// The delay until a time. One that is years after `Date` was not read off the clock that `Date` was: that clock was
    /// never set.
    fn until(self, time: SystemTime) -> Duration {
        let delay = until(time, self.sent);
        if delay > LONGEST_QUOTA { until(time, self.arrived) } else { delay }
    }
}

/// No quota lasts longer than a leap year.
const LONGEST_QUOTA: Duration = Duration::from_secs(366 * 86_400);

fn age(headers: &HeaderMap) -> Duration {
    // RFC 9111, section 5.1: of several values the first counts.
    let first = headers.get(AGE).and_then(text).and_then(|text| text.split(',').next());
    let seconds = first.map(str::trim).and_then(seconds);
    Duration::from_secs(seconds.unwrap_or_default())
}

fn parse_strictly(text: &str, clock: Clock) -> Option<RetryAfter> {
    let delay = match seconds(text) {
        Some(seconds) => Duration::from_secs(seconds),
        None => clock.until(date::parse(text, clock.sent)?),
    };
    Some(RetryAfter::new(delay))
}

fn text(value: &HeaderValue) -> Option<&str> {
    Some(value.to_str().ok()?.trim_matches([' ', '\t']))
}

/// `1*DIGIT` and nothing else. A number that does not fit is a very long delay and not an absent one.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn until(time: SystemTime, sent: SystemTime) -> Duration {
    time.duration_since(sent).unwrap_or_default()
}

/// Seconds since 1970; zero for a time before.
fn epoch_seconds(time: SystemTime) -> u64 {
    until(time, UNIX_EPOCH).as_secs()
}

#[cfg(test)]
mod tests;
