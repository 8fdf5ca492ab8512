//! The header field that says how many units of a limit a request costs.

use http::{HeaderMap, HeaderName};

use super::number;

/// How many units of a limit a request costs, as a whole number from 1: believed of trusted callers only, as units
/// are capacity.
///
/// ```
/// use tower_backpressure::{REQUEST_COST, RequestInfoLayer};
///
/// let request = http::Request::builder().header(REQUEST_COST, "8").body(()).expect("valid");
/// let head = request.into_parts().0;
/// assert_eq!(RequestInfoLayer::from_headers().read(&head).cost, 1);
/// assert_eq!(RequestInfoLayer::from_headers().trust(|_| true).read(&head).cost, 8);
/// ```
pub const REQUEST_COST: HeaderName = HeaderName::from_static("x-request-cost");

/// Digits that are read: more are above any limit.
const MAX_DIGITS: usize = 7;

/// The cost in a request's header; `None` if it is absent, malformed, 0, or given more than once.
pub(crate) fn cost(headers: &HeaderMap) -> Option<u32> {
    let mut values = headers.get_all(REQUEST_COST).iter();
    let value = values.next()?.as_bytes().trim_ascii();
    if values.next().is_some() {
        return None;
    }
    let cost = number(value, MAX_DIGITS)?;
    u32::try_from(cost).ok().filter(|&cost| cost > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_cost_is_a_whole_number_from_one_on() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_COST, HeaderValue::from_static(value));
            cost(&headers)
        };
        assert_eq!(
            [read("1"), read(" 40 "), read("9999999")],
            [Some(1), Some(40), Some(9_999_999)]
        );
        for bad in ["", "0", "-1", "+1", "1.5", "1e3", "10000000", "99999999999999999999", "x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_costs_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(REQUEST_COST, HeaderValue::from_static("1"));
        headers.append(REQUEST_COST, HeaderValue::from_static("2"));
        assert_eq!(cost(&headers), None);
        assert_eq!(cost(&HeaderMap::new()), None);
    }
}
