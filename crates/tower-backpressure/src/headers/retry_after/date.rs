//! HTTP-date, with what `httpdate` leaves out: leap seconds and the fifty-year rule.

use std::time::{Duration, SystemTime};

use super::epoch_seconds;

/// The mean Gregorian year.
const YEAR: u64 = 31_556_952;

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The moment `text` names, in any of the three formats of RFC 9110 §5.6.7.
pub(super) fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    match without_leap_second(text) {
        Some(before) => parse_regular(&before, now)?.checked_add(Duration::from_secs(1)),
        None => parse_regular(text, now),
    }
}

fn parse_regular(text: &str, now: SystemTime) -> Option<SystemTime> {
    match TwoDigitYear::split(text) {
        Some(date) => date.resolve(now),
        None => httpdate::parse_http_date(text).ok(),
    }
}

/// The same date one second earlier, when its second is 60.
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
        let known = WEEKDAYS.contains(&weekday);
        let (day, rest) = date.split_once('-')?;
        let (month, rest) = rest.split_once('-')?;
        let (year, time) = rest.split_at_checked(2)?;
        let digits = year.bytes().all(|byte| byte.is_ascii_digit());
        (known && digits).then_some(Self { day, month, year: year.parse().ok()?, time })
    }

    /// RFC 9110 §5.6.7: a year that seems more than fifty years ahead is the latest past one with
    /// the same two digits.
    fn resolve(&self, now: SystemTime) -> Option<SystemTime> {
        let now = epoch_seconds(now);
        let horizon = now.saturating_add(50 * YEAR);
        let century = (1970 + now / YEAR) / 100 * 100;
        [century + 100, century, century - 100]
            .into_iter()
            .filter_map(|century| self.in_year(century + self.year))
            .find(|moment| epoch_seconds(*moment) <= horizon)
    }

    /// The weekday was right for the century the sender meant, which need not be the one the rule
    /// picks; `httpdate` insists on one that fits, so it is given each.
    fn in_year(&self, year: u64) -> Option<SystemTime> {
        let Self { day, month, time, .. } = self;
        WEEKDAYS.iter().find_map(|weekday| {
            let short = &weekday[..3];
            httpdate::parse_http_date(&format!("{short}, {day} {month} {year}{time}")).ok()
        })
    }
}
