//! The header that says that a request was rejected before it was begun.

use backpressure_core::{Reason, Shed};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response};

/// Header of a rejection. Its presence says that the request was not begun, so that it may be sent
/// again whatever its method; its value is the reason.
///
/// A layer that has admitted a request removes it from the response.
pub const SHED_REASON: HeaderName = HeaderName::from_static("x-shed-reason");

/// [`SHED_REASON`] as a static, which look-ups borrow.
pub(crate) static SHED_REASON_FIELD: HeaderName = SHED_REASON;

/// The values that the layers of this process write: each reason twice, revealed and not, with a space behind.
///
/// A value that points into this text was written here, and not read from a connection. That tells a rejection of
/// this process from one that a server has sent, without an allocation. The text is one, because equal short texts
/// may share an address.
static OWN_VALUES: [u8; OWN_VALUES_LENGTH] = own_values().0;
const OWN_VALUES_LENGTH: usize = own_values::<0>().1;
/// Where a reason is not revealed.
const UNREVEALED: &str = "refused";

/// The text, cut to the length that is asked for, and its length.
const fn own_values<const CUT: usize>() -> ([u8; CUT], usize) {
    let (mut text, mut length, mut index) = ([b' '; CUT], 0, 0);
    while index < 2 * Reason::ALL.len() {
        let word = if index % 2 == 0 { Reason::ALL[index / 2].as_str() } else { UNREVEALED };
        let (word, mut at) = (word.as_bytes(), 0);
        while at < word.len() {
            if length < CUT {
                text[length] = word[at];
            }
            (at, length) = (at + 1, length + 1);
        }
        (index, length) = (index + 1, length + 1);
    }
    (text, length)
}

/// The value of [`SHED_REASON`] in a rejection by this process.
pub(crate) fn own_value(reason: Reason, is_revealed: bool) -> HeaderValue {
    let index = 2 * index_of(reason) + usize::from(!is_revealed);
    let word = OWN_VALUES.split(|&byte| byte == b' ').nth(index).unwrap_or_default();
    HeaderValue::from_static(std::str::from_utf8(word).expect("names of reasons"))
}

/// The reason in a value that this process has written; `None` for any other.
fn reason_of_own(value: &HeaderValue) -> Option<Reason> {
    let offset = (value.as_bytes().as_ptr() as usize).checked_sub(OWN_VALUES.as_ptr() as usize)?;
    let word = OWN_VALUES.get(..offset)?.iter().filter(|&&byte| byte == b' ').count();
    Reason::ALL.get(word / 2).copied()
}

/// The position of a reason in [`Reason::ALL`].
pub(crate) fn index_of(reason: Reason) -> usize {
    Reason::ALL.iter().position(|&known| known == reason).unwrap_or(0)
}

/// A layer of this crate in this process rejected the request, or a request that the handler made.
///
/// It is for logs and metrics around the layers, which should not take a rejection for a failure. It
/// does not say that the request was not begun; [`SHED_REASON`] does.
///
/// With tower-http's `TraceLayer` around the layers, every rejection would be an event at level
/// `ERROR`. A classifier that calls [`Rejected::of`] keeps rejections out of the failures:
///
/// ```
/// use http::Response;
/// use tower_backpressure::Rejected;
/// use tower_http::classify::{
///     ClassifiedResponse, ClassifyResponse, NeverClassifyEos, ServerErrorsAsFailures,
///     ServerErrorsFailureClass, SharedClassifier,
/// };
/// use tower_http::trace::TraceLayer;
///
/// #[derive(Clone, Copy)]
/// struct Failures;
///
/// impl ClassifyResponse for Failures {
///     type FailureClass = ServerErrorsFailureClass;
///     type ClassifyEos = NeverClassifyEos<ServerErrorsFailureClass>;
///
///     fn classify_response<B>(
///         self,
///         response: &Response<B>,
///     ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
///         if Rejected::of(response).is_some() {
///             return ClassifiedResponse::Ready(Ok(()));
///         }
///         ServerErrorsAsFailures::new().classify_response(response)
///     }
///
///     fn classify_error<E: std::fmt::Display + 'static>(self, error: &E) -> Self::FailureClass {
///         ServerErrorsFailureClass::Error(error.to_string())
///     }
/// }
///
/// let trace = TraceLayer::new(SharedClassifier::new(Failures));
/// # let _ = trace;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected(pub Reason);

impl Rejected {
    /// Why a layer in this process rejected the request, if one did, at any depth.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Option<Self> {
        Self::in_header(response.headers()).or_else(|| Self::at_client(response.extensions()))
    }

    /// A layer that runs in a service of this process rejected the request, which was not begun.
    pub(crate) fn in_header(headers: &HeaderMap) -> Option<Self> {
        headers.get(&SHED_REASON_FIELD).and_then(reason_of_own).map(Self)
    }

    /// The same for a layer of a client. A service in the same process is a server to its clients: what it rejects is
    /// marked in the header alone.
    pub(crate) fn at_client(extensions: &Extensions) -> Option<Self> {
        let local = extensions.get::<Shed>().map(|shed| Self(shed.reason));
        local.or_else(|| extensions.get().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(SHED_REASON, value)])
    }

    #[test]
    fn a_reason_is_told_from_the_value_of_this_process_whether_or_not_it_is_revealed() {
        for &reason in Reason::ALL {
            let (revealed, hidden) = (own_value(reason, true), own_value(reason, false));
            assert_eq!(
                (revealed.as_bytes(), hidden.as_bytes()),
                (reason.as_str().as_bytes(), &b"refused"[..])
            );
            for value in [revealed, hidden] {
                assert_eq!(Rejected::in_header(&with(value)), Some(Rejected(reason)));
            }
        }
    }

    #[test]
    fn the_same_value_from_elsewhere_says_nothing_of_this_process() {
        for &reason in Reason::ALL {
            let received = HeaderValue::from_bytes(reason.as_str().as_bytes()).expect("a value");
            assert_eq!(Rejected::in_header(&with(received)), None);
            let written = HeaderValue::from_static(reason.as_str());
            assert_eq!(Rejected::in_header(&with(written)), None);
        }
        assert_eq!(Rejected::in_header(&HeaderMap::new()), None);
    }
}
