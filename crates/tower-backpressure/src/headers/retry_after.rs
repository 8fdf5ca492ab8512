//! Parses the Retry-After field. Other modules decide which value a server sends and how a client waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

mod date;

/// The `Retry-After` of a response as a bounded delay, for a client with a retry loop of its own.
///
/// Both forms of RFC 9110, section 10.2.3, are accepted: a number of seconds, and a date in any of the
/// three formats of section 5.6.7. A date is counted from the response's own `Date` where there is one,
/// so that a difference between the two clocks does not matter. Of several values the longest counts. A
/// value in neither form is ignored.
///
/// ```
/// use http::HeaderMap;
/// use std::time::{Duration, SystemTime};
/// use tower_backpressure::RetryAfter;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "120".parse()?);
/// let retry_after = RetryAfter::from_headers(&headers, SystemTime::now()).expect("a valid value");
/// assert_eq!(retry_after.delay(), Duration::from_secs(120));
///
/// headers.insert("retry-after", "99999999999999999999".parse()?);
/// let retry_after = RetryAfter::from_headers(&headers, SystemTime::now()).expect("a valid value");
/// assert_eq!(retry_after.delay(), RetryAfter::MAX);
/// assert!(retry_after.is_capped());
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryAfter {
    delay: Duration,
    capped: bool,
}

impl RetryAfter {
    /// The longest delay that is returned: ten minutes. A longer one does not describe an overload, and a
    /// client that obeyed an absurd one would sleep for years.
    pub const MAX: Duration = Duration::from_secs(600);

    /// Both forms of the field count in whole seconds. Clients that got the same value may have been
    /// expected up to this much apart.
    pub(crate) const RESOLUTION: Duration = Duration::from_secs(1);

    /// Parses the field in the headers of a response; `None` where there is no valid value.
    ///
    /// `now` is the time at which the response arrived. It is used for a date in a response without a
    /// `Date` field, and to complete a two-digit year.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let mut values = headers.get_all(RETRY_AFTER).iter().peekable();
        values.peek()?;
        let sent = sent_at(headers, now).unwrap_or(now);
        values.filter_map(|value| parse(value, sent)).max()
    }

    /// The time to wait from the arrival of the response: zero for a date in the past, at most
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

    fn new(delay: Duration) -> Self {
        Self { delay: delay.min(Self::MAX), capped: delay > Self::MAX }
    }
}

fn sent_at(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    date::parse(text(headers.get(DATE)?)?, now)
}

fn parse(value: &HeaderValue, sent: SystemTime) -> Option<RetryAfter> {
    let text = text(value)?;
    let delay = match seconds(text) {
        Some(seconds) => Duration::from_secs(seconds),
        None => until(date::parse(text, sent)?, sent),
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
