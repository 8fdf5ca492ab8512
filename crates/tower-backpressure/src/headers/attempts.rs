//! How many attempts a caller has made before, as header fields say it.

use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(feature = "client")]
use super::grpc::Dialect;
#[cfg(feature = "server")]
use super::number;

/// Header of a retry: how many attempts were made before it. A first attempt does not have it, unless
/// [`RetryLayer::announce_retries`](crate::RetryLayer::announce_retries) is set: then it is 0.
///
/// A gRPC call has `grpc-previous-rpc-attempts` instead (gRPC proposal A6). A
/// [`RetryLayer`](crate::RetryLayer) that gets a request with either header makes one attempt: the caller
/// will retry. [`RetryLayer::attempt_header`](crate::RetryLayer::attempt_header) switches it off.
pub const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("x-previous-attempts");

static PREVIOUS_ATTEMPTS_FIELD: HeaderName = PREVIOUS_ATTEMPTS;
static GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// Envoy counts this attempt as well: 1 is a first attempt, with or without a policy for retries.
#[cfg(feature = "server")]
static ENVOY_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// More digits than any caller makes attempts.
#[cfg(feature = "server")]
const MAX_DIGITS: usize = 9;

/// Says on the wire that `previous` attempts were made.
#[cfg(feature = "client")]
pub(crate) fn mark(headers: &mut HeaderMap, previous: u32) {
    let field = match Dialect::of(headers) {
        Dialect::Grpc => &GRPC_PREVIOUS_ATTEMPTS,
        _ => &PREVIOUS_ATTEMPTS_FIELD,
    };
    headers.insert(field, HeaderValue::from(previous));
}

/// Whether the caller repeats this request itself. Most requests have few fields, and none of these: comparing
/// names is faster than two look-ups.
#[cfg(feature = "client")]
pub(crate) fn is_marked(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| *name == PREVIOUS_ATTEMPTS_FIELD || *name == GRPC_PREVIOUS_ATTEMPTS)
}

/// The attempts that a caller has made before this one; `None`: it does not say, so that it may or may not
/// repeat the request. A value that is not understood still says that the caller counts: it is 1.
#[cfg(feature = "server")]
pub(crate) fn previous(headers: &HeaderMap) -> Option<u32> {
    let read = |value: &HeaderValue| {
        number(value.as_bytes(), MAX_DIGITS).map_or(1, |count| u32::try_from(count).unwrap_or(1))
    };
    let told = [&PREVIOUS_ATTEMPTS_FIELD, &GRPC_PREVIOUS_ATTEMPTS];
    let told = told.into_iter().flat_map(|name| headers.get_all(name)).map(read);
    let by_envoy = headers.get_all(&ENVOY_ATTEMPT_COUNT).into_iter().map(read);
    told.chain(by_envoy.filter(|&count| count > 1).map(|count| count - 1)).max()
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Option<u32> {
        let fields = fields.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        });
        previous(&fields.collect())
    }

    #[test]
    fn each_field_is_read_and_the_largest_number_counts() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("x-previous-attempts", "0")]), Some(0));
        assert_eq!(read(&[("grpc-previous-rpc-attempts", "2")]), Some(2));
        let both = [("x-previous-attempts", "1"), ("x-envoy-attempt-count", "4")];
        assert_eq!(read(&both), Some(3));
    }

    #[test]
    fn a_first_attempt_of_envoys_says_nothing() {
        assert_eq!(read(&[("x-envoy-attempt-count", "1")]), None);
        assert_eq!(read(&[("x-envoy-attempt-count", "0")]), None);
    }

    #[test]
    fn a_value_that_is_not_understood_is_one_attempt() {
        for value in ["", "two", "-1", "1, 2", "99999999999"] {
            assert_eq!(read(&[("x-previous-attempts", value)]), Some(1), "{value:?}");
        }
    }
}
