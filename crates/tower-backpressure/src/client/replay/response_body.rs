//! The body of a response of the retry layer.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response of [`Retry`](crate::Retry): that of the service inside, or an empty one where
    /// the deadline has cut the last attempt. The default is an empty body.
    #[derive(Clone, Copy, Debug)]
    pub struct RetryBody<B> {
        #[pin]
        body: Option<B>,
    }
}

impl<B> RetryBody<B> {
    pub(super) const fn new(body: B) -> Self {
        Self { body: Some(body) }
    }

    /// The body of the service inside; `None` where the deadline has cut the last attempt.
    pub fn into_inner(self) -> Option<B> {
        self.body
    }
}

impl<B> Default for RetryBody<B> {
    fn default() -> Self {
        Self { body: None }
    }
}

impl<B: Body> Body for RetryBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
