//! Parses the Retry-After field. Which value a server sends, and how a client waits, is decided elsewhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

mod date;

/// When a response said to come back: its `Retry-After`, made safe to add to a clock.
///
/// Both forms of RFC 9110 §10.2.3 are understood: seconds, and a date in any of the three formats
/// of §5.6.7. A date is counted from the response's own `Date` where there is one, which cancels
/// the difference between the two clocks. Of several values the longest counts. A value that is
/// neither form says nothing, and the caller falls back on its own backoff.
///
/// ```
/// use http::HeaderMap;
/// use std::time::{Duration, SystemTime};
/// use tower_backpressure::RetryAfter;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "120".parse()?);
/// let told = RetryAfter::from_headers(&headers, SystemTime::now()).expect("two minutes");
/// assert_eq!(told.delay(), Duration::from_secs(120));
///
/// headers.insert("retry-after", "99999999999999999999".parse()?);
/// let told = RetryAfter::from_headers(&headers, SystemTime::now()).expect("the cap");
/// assert_eq!(told.delay(), RetryAfter::MAX);
/// assert!(told.is_capped());
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryAfter {
    delay: Duration,
    capped: bool,
}

impl RetryAfter {
    /// The longest delay ever reported: ten minutes. Whoever asks for more is not describing an
    /// overload, and a process that believed him would sleep for years.
    pub const MAX: Duration = Duration::from_secs(600);

    /// Both forms of the header count in whole seconds: those who were told the same number may
    /// have been meant to come back up to this much apart.
    pub(crate) const RESOLUTION: Duration = Duration::from_secs(1);

    /// What `headers` say, seen at `now`; `None` where they say nothing that can be understood.
    ///
    /// `now` is used for a date in a response without a `Date` of its own, and to complete a
    /// two-digit year.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let mut values = headers.get_all(RETRY_AFTER).iter().peekable();
        values.peek()?;
        let sent = sent_at(headers, now).unwrap_or(now);
        values.filter_map(|value| parse(value, sent)).max()
    }

    /// How long to stay away, counted from the response's arrival: zero when the moment has
    /// passed, at most [`MAX`](Self::MAX).
    #[must_use]
    pub const fn delay(self) -> Duration {
        self.delay
    }

    /// Whether more was asked for than [`delay`](Self::delay) tells.
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

/// `1*DIGIT` and nothing else; what does not fit is still a very long time, not an absent one.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn until(moment: SystemTime, sent: SystemTime) -> Duration {
    moment.duration_since(sent).unwrap_or_default()
}

/// Seconds since 1970, zero before.
fn epoch_seconds(moment: SystemTime) -> u64 {
    until(moment, UNIX_EPOCH).as_secs()
}

#[cfg(test)]
mod tests;
