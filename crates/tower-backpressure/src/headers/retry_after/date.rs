//! HTTP-date: `httpdate`, and what it does not parse: leap seconds, two-digit years, and the dates of
//! servers that do not follow RFC 9110.

use std::time::{Duration, SystemTime};

use super::epoch_seconds;

mod tolerant;

/// The mean Gregorian year: 365.2425 days.
const SECONDS_PER_YEAR: u64 = 31_556_952;

/// RFC 9110, section 5.6.7: a year that seems to be further ahead lies in the past.
const MAX_YEARS_AHEAD: u64 = 50;

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Parses a date in any of the three formats of RFC 9110, section 5.6.7.
pub(super) fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    match without_leap_second(text) {
        Some(one_second_earlier) => {
            parse_regular(&one_second_earlier, now)?.checked_add(Duration::from_secs(1))
        }
        None => parse_regular(text, now),
    }
}

/// Parses also dates in any case, with a wrong weekday, with another zone, and by ISO 8601.
pub(super) fn parse_tolerantly(text: &str, now: SystemTime) -> Option<SystemTime> {
    parse(text, now).or_else(|| tolerant::parse(text, now))
}

fn parse_regular(text: &str, now: SystemTime) -> Option<SystemTime> {
    match TwoDigitYear::split(text) {
        Some(date) => date.resolve(now),
        None => httpdate::parse_http_date(text).ok(),
    }
}

/// A date one second earlier, if its second is 60.
fn without_leap_second(text: &str) -> Option<String> {
    let (minutes, rest) = text.rsplit_once(':')?;
    let zone = rest.strip_prefix("60")?;
    Some(format!("{minutes}:59{zone}"))
}

/// An RFC 850 date: `Sunday, 06-Nov-94 08:49:37 GMT`.
struct TwoDigitYear<'a> {
    day: &'a str,
    month: &'a str,
    year: u64,
    time: &'a str,
}

impl<'a> TwoDigitYear<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (weekday, date) = text.split_once(", ")?;
        let is_weekday = WEEKDAYS.contains(&weekday);
        let (day, rest) = date.split_once('-')?;
        let (month, rest) = rest.split_once('-')?;
        let (year, time) = rest.split_at_checked(2)?;
        let is_number = year.bytes().all(|byte| byte.is_ascii_digit());
        (is_weekday && is_number).then_some(Self { day, month, year: year.parse().ok()?, time })
    }

    /// RFC 9110, section 5.6.7: a date that seems more than fifty years ahead is in the latest past year
    /// with the same two digits.
    fn resolve(&self, now: SystemTime) -> Option<SystemTime> {
        let now = epoch_seconds(now);
        let horizon = now.saturating_add(MAX_YEARS_AHEAD * SECONDS_PER_YEAR);
        let century = (1970 + now / SECONDS_PER_YEAR) / 100 * 100;
        [century + 100, century, century - 100]
            .into_iter()
            .filter_map(|century| self.in_year(century + self.year))
            .find(|time| epoch_seconds(*time) <= horizon)
    }

    /// The date in this year. The weekday fits the century that the sender meant, which may differ from the
    /// one that the rule selects.
    fn in_year(&self, year: u64) -> Option<SystemTime> {
        let Self { day, month, time, .. } = self;
        on_any_weekday(&format!("{day} {month} {year}{time}"))
    }
}

/// `06 Nov 1994 08:49:37 GMT`. `httpdate` requires a weekday that fits, so each is tried.
fn on_any_weekday(date: &str) -> Option<SystemTime> {
    let mut dates = WEEKDAYS.iter().map(|weekday| format!("{}, {date}", &weekday[..3]));
    dates.find_map(|date| httpdate::parse_http_date(&date).ok())
}
