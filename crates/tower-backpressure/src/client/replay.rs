//! What the retry layer has to know of requests and responses.

use http::header::HeaderMap;
use http::method::Method;
use http::status::StatusCode;
use http::{Extensions, Request, Response};
use tokio::time::Instant;

use crate::deadline::Deadline;

#[cfg(feature = "reqwest")]
mod reqwest;

/// A request of which a second copy can be sent.
///
/// Sealed; implemented for [`http::Request`] with a body that is `Clone` (such as
/// `http_body_util::Full`) and, with feature `reqwest`, for `reqwest::Request`.
pub trait Replay: Sized + sealed::Sealed {
    /// The method: it decides what may be sent twice.
    fn method(&self) -> &Method;

    /// The header fields.
    fn headers(&self) -> &HeaderMap;

    /// The header fields, to add the ticket of a refusal.
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// A copy, or `None` when there is but one body: a stream is sent once.
    fn replay(&self) -> Option<Self>;

    /// When the answer will be worthless, if the request says so.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// A response of which the head can be read.
///
/// Sealed; implemented for [`http::Response`] and, with feature `reqwest`, for `reqwest::Response`.
pub trait ResponseHead: sealed::Sealed {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The header fields.
    fn headers(&self) -> &HeaderMap;

    /// Where [`Attempts`](crate::client::Attempts) are left.
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
