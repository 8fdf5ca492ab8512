//! Dates that are not HTTP-dates, taken apart into their fields.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::{TwoDigitYear, on_any_weekday};
use crate::headers::retry_after::decimal;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The fields of a date, as text. The zone is in seconds east of Greenwich.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    day: Option<&'a str>,
    month: Option<&'static str>,
    year: Option<&'a str>,
    time: Option<&'a str>,
    /// The digits after the seconds.
    fraction: &'a str,
    zone: i64,
    /// Hours are counted to twelve, and whether these are behind noon.
    is_afternoon: Option<bool>,
}

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    // A comment or the name of a zone at the end: `(Coordinated Universal Time)`, `[UTC]`.
    let text = text.split(['(', '[']).next().unwrap_or(text).trim_end();
    let text = &*with_separators(text);
    let fields = Fields::of_iso(text).or_else(|| Fields::of_words(text))?;
    fields.resolve(now)
}

/// ISO 8601 with all separators, of its basic form (`20261121T080020Z`) and of one with slashes (`2026/11/21 08:00:20`).
fn with_separators(text: &str) -> Cow<'_, str> {
    let has_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let has_shape = |at: usize, shape: &str| {
        let part = text.get(at..at + shape.len());
        part.is_some_and(|part| {
            part.bytes().zip(shape.bytes()).all(|(byte, model)| match model {
                b'0' => byte.is_ascii_digit(),
                _ => byte == model,
            })
        })
    };
    if has_shape(0, "0000/00/00 ") {
        return Cow::Owned(text.replacen('/', "-", 2));
    }
    if !has_shape(0, "00000000T000000") || text.get(15..16).is_some_and(has_digits) {
        return Cow::Borrowed(text);
    }
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let (date, time) =
        ([part(0, 4), part(4, 6), part(6, 8)], [part(9, 11), part(11, 13), part(13, 15)]);
    Cow::Owned(format!("{}T{}{}", date.join("-"), time.join(":"), part(15, text.len())))
}

impl<'a> Fields<'a> {
    /// ISO 8601: `2026-11-21T08:49:37Z`, also with a space, a fraction or an offset, or without seconds. A date
    /// without a time begins at midnight.
    fn of_iso(text: &'a str) -> Option<Self> {
        let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
        let mut parts = date.splitn(3, '-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
        let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
        let end = time.find(['Z', 'z', '+', '-', ' ']).unwrap_or(time.len());
        let (time, zone) = time.split_at(end);
        let (time, fraction) = time.split_once(['.', ',']).unwrap_or((time, ""));
        is_year.then_some(Self {
            day: Some(day),
            month: Some(month),
            year: Some(year),
            time: Some(time),
            fraction,
            // Go writes an offset and a name: `+0000 UTC`.
            zone: offset(zone.split_whitespace().next().unwrap_or_default())?,
            is_afternoon: None,
        })
    }

    /// The words of an HTTP-date, in any case and order.
    fn of_words(text: &'a str) -> Option<Self> {
        let mut fields = Self::default();
        let words = text.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        for word in words {
            // 06-Nov-94
            let is_date =
                !word.contains([':', '+']) && !word.starts_with('-') && word.contains('-');
            match is_date && word.starts_with(|start: char| start.is_ascii_digit()) {
                true => word.split('-').try_for_each(|part| fields.take(part))?,
                false => fields.take(word)?,
            }
        }
        Some(fields)
    }

    /// Takes one word for what it looks like; `None` where it is nothing known, or there was one like it:
    /// then the text is a list, and no date.
    fn take(&mut self, word: &'a str) -> Option<()> {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if word.contains(':') && word.starts_with(|start: char| start.is_ascii_digit()) {
            let end = word.find(['+', '-']).unwrap_or(word.len());
            let (time, zone) = word.split_at_checked(end)?;
            self.zone = if zone.is_empty() { self.zone } else { offset(zone)? };
            set(&mut self.time, time)
        } else if is_number && word.len() <= 2 && self.day.is_none() {
            set(&mut self.day, word)
        } else if is_number && matches!(word.len(), 2 | 4) {
            set(&mut self.year, word)
        } else if let Some(month) = month(word) {
            set(&mut self.month, month)
        } else if is_weekday(word) {
            Some(())
        } else if let Some(is_afternoon) = half_of_day(word) {
            set(&mut self.is_afternoon, is_afternoon)
        } else {
            self.zone = offset(word)?;
            Some(())
        }
    }

    fn resolve(self, now: SystemTime) -> Option<SystemTime> {
        let (day, month, year) = (self.day?, self.month?, self.year?);
        let time = self.time?;
        let fraction = decimal::fraction(self.fraction)?;
        let time = &*match self.is_afternoon {
            Some(is_afternoon) => Cow::Owned(in_24_hours(time, is_afternoon)?),
            None => Cow::Borrowed(time),
        };
        // ISO 8601: the end of a day.
        let (time, fraction) = match time {
            "24:00:00" | "24:00" if fraction.is_zero() => ("00:00:00", DAY),
            _ => (time, fraction),
        };
        let (time, rest) = match time.strip_suffix(":60") {
            Some(minutes) if minutes.contains(':') => {
                (format!("{minutes}:59"), fraction + Duration::from_secs(1))
            }
            _ if time.matches(':').count() == 1 => (format!("{time}:00"), fraction),
            _ => (time.to_owned(), fraction),
        };
        let (day, time) = (format!("{day:0>2}"), format!(" {time:0>8} GMT"));
        let local = match year.len() {
            2 => {
                let year = year.parse().ok()?;
                TwoDigitYear { day: &day, month, year, time: &time }.resolve(now)
            }
            _ => on_any_weekday(&format!("{day} {month} {year}{time}")),
        }?;
        let zone = Duration::from_secs(self.zone.unsigned_abs());
        let utc = if self.zone > 0 { local.checked_sub(zone) } else { local.checked_add(zone) }?;
        utc.checked_add(rest)
    }
}

fn half_of_day(word: &str) -> Option<bool> {
    let is = |half: &str| word.eq_ignore_ascii_case(half);
    (is("AM") || is("PM")).then(|| is("PM"))
}

/// `8:00:20` in the afternoon is `20:00:20`, and `12:00:20` is behind midnight or noon.
fn in_24_hours(time: &str, is_afternoon: bool) -> Option<String> {
    let (hour, rest) = time.split_once(':')?;
    let hour = hour.parse::<u8>().ok().filter(|hour| (1..=12).contains(hour))? % 12;
    Some(format!("{:02}:{rest}", hour + if is_afternoon { 12 } else { 0 }))
}

/// Sets a field that is not set yet.
fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

fn month(word: &str) -> Option<&'static str> {
    let start = word.get(..3)?;
    MONTHS.into_iter().find(|month| month.eq_ignore_ascii_case(start))
}

fn is_weekday(word: &str) -> bool {
    let start = word.get(..3).unwrap_or(word);
    super::WEEKDAYS.iter().any(|weekday| weekday[..3].eq_ignore_ascii_case(start))
}

/// The zones of RFC 5322, section 4.3, in hours east of Greenwich.
const ZONES: [(&str, i64); 12] = [
    ("", 0),
    ("GMT", 0),
    ("UTC", 0),
    ("UT", 0),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
];

/// Seconds east of Greenwich: `GMT`, `UTC`, `Z`, `PST`, `+0200`, `-05:00`, `+02`, `GMT+0000`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let sign_at = zone.find(['+', '-']).unwrap_or(zone.len());
    let (name, offset) = zone.split_at_checked(sign_at)?;
    let (_, hours) = ZONES.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(name))?;
    if offset.is_empty() {
        return Some(hours * 3_600);
    }
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits = offset[1..].replace(':', "");
    let is_valid =
        matches!(digits.len(), 1 | 2 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = digits.split_at_checked(digits.len().min(2)).filter(|_| is_valid)?;
    let minutes = if minutes.is_empty() { 0 } else { minutes.parse::<i64>().ok()? };
    Some(sign * (hours.parse::<i64>().ok()? * 3_600 + minutes * 60))
}
