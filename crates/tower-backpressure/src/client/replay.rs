//! What the retry layer needs from the types of requests and responses.

use http::header::{HeaderMap, HeaderValue};
use http::method::Method;
use http::status::StatusCode;
use http::{Extensions, Request, Response, header};
use http_body::Body;
use tokio::time::Instant;

use crate::client::attempts::Attempts;
use crate::client::connection::Connection;
use crate::client::deadline_exceeded;
use crate::client::gave_up::GaveUp;
use crate::client::timeout_field;
use crate::deadline::Deadline;
use crate::request_info::RequestInfo;

mod body;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "reqwest")]
pub(super) use self::reqwest::has_url;
mod response_body;
mod strategy;

pub use self::body::ReplayBody;
pub use self::response_body::RetryBody;
pub use self::strategy::{Buffered, ByClone, KeepForRetry, Rebuilt};

/// A request whose head can be read and changed.
///
/// Sealed; implemented for [`http::Request`] and, with feature `reqwest`, for `reqwest::Request`.
pub trait RequestHead: sealed::Sealed {
    /// The method, which decides whether the request is idempotent.
    fn method(&self) -> &Method;

    /// The header fields.
    fn headers(&self) -> &HeaderMap;

    /// The header fields, to which a retry adds the number of the attempt and the ticket of a rejection.
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// The scheme and the authority that the request is sent to, as far as it names them.
    fn origin(&self) -> (&str, &str);

    /// The URL, where the client inside may follow a redirection from it.
    fn url(&self) -> Option<&str>;

    /// The address of its path or host, by which a retry layer inside another one recognises its request.
    /// Services in between move a request or rebuild its URI around the same path.
    fn identity(&self) -> usize;

    /// The deadline that the request carries, if there is one, at the time `now`.
    fn deadline(&self, now: Instant) -> Option<Instant>;

    /// Tells the services inside the deadline, and the number of an attempt that is not the first.
    fn prepare(&mut self, attempt: Attempts, deadline: Option<Instant>);

    /// The connection that it will be sent over, where the client inside tells.
    #[doc(hidden)]
    fn connection(&mut self) -> Option<Connection>;

    /// Tells the services inside what the request is sent for.
    fn carry(&mut self, info: RequestInfo);
}

/// A request that can be copied, so that it can be sent again.
///
/// Sealed; implemented for [`http::Request`] with a body that is `Clone` (such as
/// `http_body_util::Full`) and, with feature `reqwest`, for `reqwest::Request`.
/// [`RetryLayer::buffer_bodies`](crate::RetryLayer::buffer_bodies) is for other bodies.
pub trait Replay: RequestHead + Sized {
    /// A copy of the request; `None` when its body cannot be copied, such as a stream.
    fn replay(&self) -> Option<Self>;
}

/// A response whose head can be read.
///
/// Sealed; implemented for [`http::Response`] and, with feature `reqwest`, for `reqwest::Response`.
pub trait ResponseHead: sealed::Sealed {
    /// The body, of which the layer reads a bounded part before a retry, so that the connection can be used
    /// again.
    type Body: Body;

    /// The response that the layer returns.
    type Output;

    /// Whether the layer ends attempts at the deadline, and not the client inside.
    const IS_CUT_BY_LAYER: bool;

    /// The status.
    fn status(&self) -> StatusCode;

    /// The header fields.
    fn headers(&self) -> &HeaderMap;

    /// The URL that it is from, where the client inside may have followed a redirection.
    fn url(&self) -> Option<&str>;

    /// The extensions.
    fn extensions(&self) -> &Extensions;

    /// The extensions, into which the layer puts [`Attempts`](crate::client::Attempts) and
    /// [`GaveUp`](crate::client::GaveUp).
    fn extensions_mut(&mut self) -> &mut Extensions;

    /// The body without the head.
    fn into_body(self) -> Self::Body;

    /// What the layer returns for this response.
    fn into_output(self) -> Self::Output;

    /// What the layer returns in place of a response that did not come before the deadline, in gRPC's form
    /// or HTTP's; `None` where the client inside ends the attempt.
    fn deadline_exceeded(is_grpc: bool, gave_up: GaveUp) -> Option<Self::Output>;
}

impl<B> RequestHead for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn origin(&self) -> (&str, &str) {
        let scheme = self.uri().scheme_str().unwrap_or_default();
        let host = || self.headers().get(header::HOST).map(HeaderValue::to_str);
        let authority = match self.uri().authority() {
            Some(authority) => authority.as_str(),
            None => host().and_then(Result::ok).unwrap_or_default(),
        };
        (scheme, authority)
    }

    fn url(&self) -> Option<&str> {
        None
    }

    fn identity(&self) -> usize {
        let path = self.uri().path();
        let identity = match path.len() {
            // The path `/` is a static string of all requests. To find the host takes longer.
            0 | 1 => self.uri().host().unwrap_or(path),
            _ => path,
        };
        identity.as_ptr().addr()
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let extension = RequestInfo::deadline_of(self.extensions());
        // Every gRPC call is a POST.
        let grpc =
            (*self.method() == Method::POST).then(|| timeout_field::read_grpc(self.headers()));
        let grpc = grpc.flatten().and_then(|timeout| now.checked_add(timeout));
        extension.into_iter().chain(grpc).min()
    }

    fn prepare(&mut self, attempt: Attempts, deadline: Option<Instant>) {
        if attempt > Attempts(1) {
            self.extensions_mut().insert(attempt);
        }
        let Some(deadline) = deadline else { return };
        let told = RequestInfo::deadline_of(self.extensions());
        if told != Some(deadline) {
            self.extensions_mut().insert(Deadline(deadline));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        timeout_field::refresh(self.headers_mut(), left);
    }

    fn connection(&mut self) -> Option<Connection> {
        Connection::of(self)
    }

    fn carry(&mut self, info: RequestInfo) {
        self.extensions_mut().insert(info);
    }
}

impl<B: Clone> Replay for Request<B> {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<B: Body> ResponseHead for Response<B> {
    type Body = B;
    type Output = Response<RetryBody<B>>;

    const IS_CUT_BY_LAYER: bool = true;

    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn url(&self) -> Option<&str> {
        None
    }

    fn extensions(&self) -> &Extensions {
        self.extensions()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }

    fn into_body(self) -> B {
        self.into_body()
    }

    fn into_output(self) -> Self::Output {
        self.map(RetryBody::new)
    }

    fn deadline_exceeded(is_grpc: bool, gave_up: GaveUp) -> Option<Self::Output> {
        let mut response = deadline_exceeded::with_body(is_grpc, RetryBody::default());
        response.extensions_mut().insert(Attempts(gave_up.attempts));
        response.extensions_mut().insert(gave_up);
        Some(response)
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
