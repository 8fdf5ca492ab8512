//! Text for pages and for the command line: escaped markup, percentages, latencies, durations and header fields.

use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// Text that stays text inside an element or a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Milliseconds with two significant digits.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1e3)
    }
}

/// A duration as written on the command line: `250ms`, `1.5s`, `2m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("a duration has a unit: 250ms, 1.5s or 2m".into()),
    };
    let number: f64 =
        number.trim().parse().map_err(|_| "a duration is a number and a unit".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// A header field as written on the command line: `name: value`.
pub(crate) fn parse_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a field is `name: value`")?;
    let name = name.trim().parse().map_err(|_| "no name of a field")?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "no value of a field")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_a_name_and_a_value() {
        let (name, value) = parse_field("X-Kind:  a: b ").expect("a field");
        assert_eq!((name.as_str(), value.as_bytes()), ("x-kind", &b"a: b"[..]));
        for wrong in ["", "x", "a b: c", ": c", "a: b\nc"] {
            assert!(parse_field(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            escaped(r#"<a href="x">R&D's</a>"#),
            "&lt;a href=&quot;x&quot;&gt;R&amp;D&#39;s&lt;/a&gt;"
        );
    }

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "1", "s", "-1s", "NaNs", "infs", "1y", "1e400s", "1s2"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn milliseconds_keep_two_digits() {
        assert_eq!([5.25, 87.4, 1250.0].map(milliseconds), ["5.2 ms", "87 ms", "1.2 s"]);
    }
}
