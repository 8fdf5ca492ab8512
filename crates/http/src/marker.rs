//! The mark of a request that was not begun.

use backpressure_gate::{Reason, Shed};
use http::{Extensions, HeaderName};

/// Header of a refusal. Its presence says that the request was not begun, so that it may be sent
/// again whatever its method; its value says why it was refused.
///
/// A layer that admitted a request takes it off every answer from below.
pub const SHED_REASON: HeaderName = HeaderName::from_static("x-shed-reason");

/// The same, to look it up without making one.
pub(crate) static MARK: HeaderName = SHED_REASON;

/// Says of a response that a layer of this crate in this process refused the request, or another
/// that a handler sent on: for logs and metrics around our layers, which should not take a refusal
/// for a failure. It does not say that the request was not begun; [`SHED_REASON`] does.
///
/// With tower-http's `TraceLayer` around our layers, every refusal would be an event at level `ERROR`.
/// A classifier that asks [`Refused::of`] keeps refusals out of the failures:
///
/// ```
/// use http::Response;
/// use tower_backpressure::Refused;
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
///         if Refused::of(response.extensions()).is_some() {
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
pub struct Refused(pub Reason);

impl Refused {
    /// Why a layer refused, if one did; at whatever depth below.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let here = extensions.get::<Shed>().map(|shed| Self(shed.reason));
        here.or_else(|| extensions.get().copied())
    }
}
