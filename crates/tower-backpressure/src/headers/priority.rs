//! The Priority field: RFC 9218.

use http::{HeaderMap, HeaderName};

use super::dictionary::{self, Item};

static PRIORITY: HeaderName = HeaderName::from_static("priority");

/// The highest value, for background work.
const MAX_URGENCY: i64 = 7;

/// The urgency: 0 for the most urgent, 7 for background work; `None`: absent, out of range, or the field
/// is malformed, which RFC 9218 treats alike.
pub(crate) fn urgency(headers: &HeaderMap) -> Option<u8> {
    let mut urgency = None;
    for line in headers.get_all(&PRIORITY) {
        dictionary::read(line.as_bytes(), |key, item| {
            if key == b"u" {
                urgency = Some(item);
            }
        })?;
    }
    match urgency? {
        Item::Integer(urgency @ 0..=MAX_URGENCY) => u8::try_from(urgency).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<u8> {
        let value = |line: &&str| (PRIORITY.clone(), line.parse().expect("a header value"));
        urgency(&lines.iter().map(value).collect())
    }

    #[test]
    fn the_urgency_is_read_from_any_valid_field() {
        assert_eq!(read(&["u=0"]), Some(0));
        assert_eq!(read(&["u=7, i"]), Some(7));
        assert_eq!(read(&["i, u=5"]), Some(5));
        assert_eq!(read(&["u=1;a=\"b\";c, x=(1 \"two\" three);d=?0, y=1.5,\tz=:YQ==:"]), Some(1));
        assert_eq!(read(&["u=1, u=4"]), Some(4), "the last one counts");
        assert_eq!(read(&["u=1", "i", "u=6"]), Some(6), "lines are one field");
    }

    #[test]
    fn a_field_that_is_malformed_or_out_of_range_says_nothing() {
        for text in [
            "", "i", "u", "u=8", "u=-1", "u=2.0", "u=\"2\"", "u=two", "u=2,", "u=2 i", "U=2",
            "u= 2",
        ] {
            assert_eq!(read(&[text]), None, "{text:?}");
        }
        assert_eq!(read(&["u=2", "(("]), None);
        assert_eq!(read(&[]), None);
    }
}
