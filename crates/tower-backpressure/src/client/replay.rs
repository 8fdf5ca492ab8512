//! What the retry layer needs from the types of requests and responses.

use http::header::HeaderMap;
use http::method::Method;
use http::status::StatusCode;
use http::{Extensions, Request, Response};
use tokio::time::Instant;

use crate::deadline::Deadline;

#[cfg(feature = "reqwest")]
mod reqwest;

/// A request that can be copied, so that it can be sent again.
///
/// Sealed; implemented for [`http::Request`] with a body that is `Clone` (such as
/// `http_body_util::Full`) and, with feature `reqwest`, for `reqwest::Request`.
pub trait Replay: Sized + sealed::Sealed {
    /// The method, which decides whether the request is idempotent.
    fn method(&self) -> &Method;

    /// The header fields.
    fn headers(&self) -> &HeaderMap;

    /// The header fields, to which a retry adds the ticket of a rejection.
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// A copy of the request; `None` when its body cannot be copied, such as a stream.
    fn replay(&self) -> Option<Self>;

    /// The deadline that the request carries, if there is one.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// A response whose head can be read.
///
/// Sealed; implemented for [`http::Response`] and, with feature `reqwest`, for `reqwest::Response`.
pub trait ResponseHead: sealed::Sealed {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The header fields.
    fn headers(&self) -> &HeaderMap;

    /// The extensions, into which the layer puts [`Attempts`](crate::client::Attempts).
    fn extensions_mut(&mut self) -> &mut Extensions;
}

impl<B: Clone> Replay for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn deadline(&self) -> Option<Instant> {
        self.extensions().get().map(|Deadline(at)| *at)
    }
}

impl<B> ResponseHead for Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

mod sealed {
    pub trait Sealed {}

    impl<B> Sealed for http::Request<B> {}
    impl<B> Sealed for http::Response<B> {}

    #[cfg(feature = "reqwest")]
    impl Sealed for reqwest::Request {}
    #[cfg(feature = "reqwest")]
    impl Sealed for reqwest::Response {}
}
