//! The criticality of a request, as a header value.

use backpressure_core::Priority;
#[cfg(any(feature = "server", feature = "reqwest"))]
use http::HeaderMap;
use http::HeaderName;
#[cfg(feature = "client")]
use http::HeaderValue;

/// Header in which a caller says how much a request matters: `critical`, `normal`, `deferrable` or
/// `sheddable`. No standard has such a field; RFC 9218 orders the responses of one client only.
///
/// The names that Google uses are understood too: `CRITICAL_PLUS`, `SHEDDABLE_PLUS` (deferrable).
pub const CRITICALITY: HeaderName = HeaderName::from_static("x-criticality");

/// [`CRITICALITY`] as a static, which look-ups borrow.
#[cfg(feature = "client")]
pub(crate) static CRITICALITY_FIELD: HeaderName = CRITICALITY;

/// The criticality that a request claims, of several lines the lowest; `None`: absent or unknown.
#[cfg(any(feature = "server", feature = "reqwest"))]
pub(crate) fn criticality(headers: &HeaderMap, field: &HeaderName) -> Option<Priority> {
    headers.get_all(field).iter().filter_map(|value| parse(value.as_bytes())).min()
}

#[cfg(any(feature = "server", feature = "reqwest"))]
fn parse(value: &[u8]) -> Option<Priority> {
    const NAMES: [(&[u8], Priority); 6] = [
        (b"critical", Priority::Critical),
        (b"critical_plus", Priority::Critical),
        (b"normal", Priority::Normal),
        (b"deferrable", Priority::Deferrable),
        (b"sheddable_plus", Priority::Deferrable),
        (b"sheddable", Priority::Sheddable),
    ];
    let name = value.trim_ascii();
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, priority)| priority)
}

/// The name of a priority in the header.
#[cfg(feature = "client")]
pub(crate) const fn name_of(priority: Priority) -> HeaderValue {
    HeaderValue::from_static(match priority {
        Priority::Critical => "critical",
        Priority::Deferrable => "deferrable",
        Priority::Sheddable => "sheddable",
        _ => "normal",
    })
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<Priority> {
        let value = |line: &&str| (CRITICALITY, line.parse().expect("a header value"));
        criticality(&lines.iter().map(value).collect(), &CRITICALITY)
    }

    #[test]
    fn names_are_known_in_any_case_and_others_say_nothing() {
        assert_eq!(read(&["critical"]), Some(Priority::Critical));
        assert_eq!(read(&["Sheddable_Plus"]), Some(Priority::Deferrable));
        for text in ["", "high", "critical, normal", "criticalx"] {
            assert_eq!(read(&[text]), None, "{text:?}");
        }
    }

    #[test]
    fn of_several_lines_the_lowest_counts() {
        assert_eq!(read(&["critical", "unknown", "deferrable"]), Some(Priority::Deferrable));
    }
}
