//! What the future of a layer returns.

use bytes::Bytes;
use http::Response;
use http_body::Body;

use crate::admission::body::{Length, ResponseBody, Size};
use crate::admission::guard::Guard;

/// Makes what the future of a layer returns of a response with a body of type `B`.
pub(crate) trait Deliver<B> {
    type Output;

    /// The body that a caller reads.
    type Body: Body + Send + 'static;

    /// How long a body says that it is.
    fn length_of(body: &B) -> Length;

    /// The response of the service inside, whose body takes `guard` and keeps it to its end. By reference: it is large.
    fn served(self, response: Response<B>, guard: &mut Option<Guard>, size: Size) -> Self::Output;

    /// Another response in place of that of the service inside.
    fn replaced(self, response: Response<B>, by: Response<Bytes>) -> Self::Output;

    /// A response without a call of the service inside.
    fn rejected(self, response: Response<Bytes>) -> Self::Output;
}

/// The response itself, with a body that holds the guard.
pub(super) struct WithBody;

impl<B: Body + Send + 'static> Deliver<B> for WithBody {
    type Output = Response<ResponseBody<B>>;
    type Body = B;

    #[inline(always)]
    fn length_of(body: &B) -> Length {
        Length::of(body)
    }

    #[inline(always)]
    fn served(self, response: Response<B>, guard: &mut Option<Guard>, size: Size) -> Self::Output {
        response.map(|body| ResponseBody::around(body, guard.take(), size))
    }

    fn replaced(self, _response: Response<B>, by: Response<Bytes>) -> Self::Output {
        by.map(ResponseBody::rejected)
    }

    fn rejected(self, response: Response<Bytes>) -> Self::Output {
        response.map(ResponseBody::rejected)
    }
}
