//! What the future of a layer returns.

use bytes::Bytes;
use http::Response;
use http_body::Body;

use crate::admission::body::ResponseBody;
use crate::admission::classify::Side;
use crate::admission::guard::Guard;

/// Makes what the future of a layer returns of a response with a body of type `B`.
pub(crate) trait Deliver<B> {
    type Output;

    /// The body that a caller reads.
    type Body: Body + Send + 'static;

    /// The response of the service inside, to whose end `guard` is kept. Without a body it ends here.
    fn served(self, response: Response<B>, guard: &mut Option<Guard>, side: Side) -> Self::Output;

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
    fn served(self, response: Response<B>, guard: &mut Option<Guard>, side: Side) -> Self::Output {
        ResponseBody::admitted(response, guard, side)
    }

    fn replaced(self, _response: Response<B>, by: Response<Bytes>) -> Self::Output {
        by.map(ResponseBody::rejected)
    }

    fn rejected(self, response: Response<Bytes>) -> Self::Output {
        response.map(ResponseBody::rejected)
    }
}
