//! The header that says that a request was rejected before it was begun.

use backpressure_core::{Reason, Shed};
use http::{Extensions, HeaderName};

/// Header of a rejection. Its presence says that the request was not begun, so that it may be sent
/// again whatever its method; its value is the reason.
///
/// A layer that has admitted a request removes it from the response.
pub const SHED_REASON: HeaderName = HeaderName::from_static("x-shed-reason");

/// [`SHED_REASON`] as a static, which look-ups borrow.
pub(crate) static SHED_REASON_FIELD: HeaderName = SHED_REASON;

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
///         if Rejected::of(response.extensions()).is_some() {
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
    /// Why an inner layer rejected the request, if one did, at any depth.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let here = extensions.get::<Shed>().map(|shed| Self(shed.reason));
        here.or_else(|| extensions.get().copied())
    }
}
