//! Durations, rates and shares as people write them.

use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

use super::json::Json;
use super::scalar::Scalar;

/// `10/s`: tokens in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Rate {
    pub(in crate::policy) tokens: u64,
    pub(in crate::policy) period: Duration,
}

/// `5%`: a part of a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Share(pub(in crate::policy) f64);

/// Nanoseconds of each unit, by its names.
const UNITS: [(&[&str], u64); 8] = [
    (&["ns"], 1),
    (&["us", "µs", "μs"], 1_000),
    (&["ms", "millisecond", "milliseconds"], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
    (&["d", "day", "days"], 86_400_000_000_000),
    (&["w", "week", "weeks"], 604_800_000_000_000),
];

fn unit(name: &str) -> Option<u64> {
    UNITS.iter().find(|(names, _)| names.contains(&name)).map(|(_, nanos)| *nanos)
}

/// A number in digits with underscores, and what follows it.
fn number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_');
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    digits.starts_with(|c: char| c.is_ascii_digit()).then_some((digits, rest))
}

/// `1.5` of a unit in nanoseconds, without rounding a decimal to binary.
fn nanos_of(digits: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |digits: &str| digits.replace('_', "").parse::<u128>().ok();
    let whole = number(whole)?.checked_mul(unit.into())?;
    if fraction.is_empty() {
        return (!digits.ends_with('.')).then_some(whole);
    }
    let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= 9)?;
    let part = number(fraction)?.checked_mul(unit.into())? / 10_u128.pow(places);
    whole.checked_add(part)
}

/// `250ms`, `1.5 s`, `1h 30min`.
fn duration(text: &str) -> Option<Duration> {
    let (mut left, mut nanos) = (text.trim(), 0_u128);
    if left == "0" {
        return Some(Duration::ZERO);
    }
    while !left.is_empty() {
        let (digits, rest) = number(left)?;
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        nanos = nanos.checked_add(nanos_of(digits, unit(name)?)?)?;
        left = rest.trim_start();
    }
    (!text.trim().is_empty()).then_some(())?;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// `10/s`, `1000 per day`, `5 / 10s`.
fn rate(text: &str) -> Option<Rate> {
    let (digits, rest) = number(text.trim())?;
    let tokens = digits.replace('_', "").parse().ok()?;
    let rest = rest.trim_start();
    let period = rest.strip_prefix('/').or_else(|| rest.strip_prefix("per "))?.trim();
    let period = unit(period).map(Duration::from_nanos).or_else(|| duration(period))?;
    Some(Rate { tokens, period })
}

/// A duration in its largest units.
pub(in crate::policy) struct Shown(pub(in crate::policy) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let names = ["ns", "us", "ms", "s", "min", "h", "d"];
        let units = UNITS.iter().map(|(_, unit)| u128::from(*unit)).zip(names).rev();
        let whole = units.into_iter().find(|(unit, _)| nanos % unit == 0);
        let (unit, name) = whole.unwrap_or((1, "ns"));
        write!(f, "{}{name}", nanos / unit)
    }
}

impl Scalar for Duration {
    fn expected() -> String {
        "a duration such as \"250ms\", \"1.5s\" or \"2min\"".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        duration(value.as_str()?)
    }

    fn schema() -> Json {
        let pattern = r"^\s*(0|([0-9][0-9_]*(\.[0-9_]+)?\s*[a-zµμ]+\s*)+)$";
        Json::object([("type", Json::text("string")), ("pattern", Json::text(pattern))])
    }

    fn show(&self) -> String {
        format!("\"{}\"", Shown(*self))
    }
}

impl Scalar for Rate {
    fn expected() -> String {
        "a rate such as \"10/s\", \"1000 per day\" or \"5/10s\"".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        rate(value.as_str()?)
    }

    fn schema() -> Json {
        let pattern = r"^\s*[0-9][0-9_]*\s*(/|per )\s*\S.*$";
        Json::object([("type", Json::text("string")), ("pattern", Json::text(pattern))])
    }

    fn show(&self) -> String {
        let period = Shown(self.period).to_string();
        let unit = period.strip_prefix('1').filter(|unit| !unit.starts_with(char::is_numeric));
        format!("\"{}/{}\"", self.tokens, unit.unwrap_or(&period))
    }
}

impl Scalar for Share {
    fn expected() -> String {
        "a share such as \"5%\", from \"0%\" to \"100%\"".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?.trim().strip_suffix('%')?.trim_end();
        number(text).filter(|(_, rest)| rest.is_empty())?;
        let percent: f64 = text.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Self(percent / 100.0))
    }

    fn schema() -> Json {
        let pattern = r"^\s*[0-9]+(\.[0-9]+)?\s*%$";
        Json::object([("type", Json::text("string")), ("pattern", Json::text(pattern))])
    }

    fn show(&self) -> String {
        format!("\"{}%\"", self.percent())
    }
}

impl Share {
    /// In per cent, without what binary fractions add to decimal ones.
    fn percent(self) -> f64 {
        (self.0 * 1e8).round() / 1e6
    }

    /// `None`: no whole number of per cent.
    pub(in crate::policy) fn whole_percent(self) -> Option<usize> {
        let percent = self.percent();
        (percent.fract() == 0.0).then_some(percent as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = [
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            (" 2 min ", 120_000_000_000),
            ("1h30min", 5_400_000_000_000),
            ("1h 30m", 5_400_000_000_000),
            ("0", 0),
            ("0.1s", 100_000_000),
            ("1_000 us", 1_000_000),
            ("2 hrs", 7_200_000_000_000),
            ("1w", 604_800_000_000_000),
        ];
        for (text, nanos) in read {
            assert_eq!(duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        let wrong = [
            "",
            " ",
            "250",
            "ms",
            "-1s",
            "1.s",
            "1..5s",
            "1 fortnight",
            "1e3s",
            "NaN",
            "99999999999d",
            "1s!",
        ];
        for text in wrong {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn rates_and_shares_are_read_as_people_write_them() {
        let second = Duration::from_secs(1);
        let rates = [
            ("10/s", 10, second),
            ("1_000 per day", 1_000, 86_400 * second),
            ("5 / 10s", 5, 10 * second),
            ("70 per week", 70, 7 * 86_400 * second),
        ];
        for (text, tokens, period) in rates {
            assert_eq!(rate(text), Some(Rate { tokens, period }), "{text}");
        }
        for text in
            ["10", "/s", "10/", "10 per", "-1/s", "1.5/s", "10/fortnight", "99999999999999999999/s"]
        {
            assert_eq!(rate(text), None, "{text}");
        }
        let share = |text: &str| Share::parse(&DeValue::String(text.into()));
        assert_eq!(share("5%"), Some(Share(0.05)));
        assert_eq!(share("0.5 %").map(|share| share.show()), Some("\"0.5%\"".to_owned()));
        for text in ["5", "101%", "-1%", "NaN%", "inf%", "%", "5%%"] {
            assert_eq!(share(text), None, "{text}");
        }
    }

    #[test]
    fn a_displayed_amount_is_parsed_to_the_same_amount() {
        for nanos in [0, 1, 1_500, 90_000_000_000, 86_400_000_000_000, u64::MAX] {
            let value = Duration::from_nanos(nanos);
            assert_eq!(duration(&Shown(value).to_string()), Some(value));
        }
    }
}
