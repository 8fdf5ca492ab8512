//! The body of a response, and the guard it carries to its end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::classify::Side;
use super::guard::Guard;
use crate::headers::content_length::content_length;

pin_project! {
    /// The body of a response of an admission layer: the service's own, or that of a rejection.
    ///
    /// The permit is released when the body ends, fails or is dropped, whichever comes first. A reader
    /// that stops reading holds memory and no capacity: after a while its permit counts apart, until the
    /// reader asks for more. The default is an empty body.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        Admitted {
            #[pin]
            body: B,
            guard: Option<Guard>,
            size: Size,
        },
        Rejected { text: Option<Bytes> },
    }
}

/// A body up to this size fits the buffers of a connection: it is handed over at once, however slowly
/// it is read.
const MAX_SHORT_BODY: u64 = 64 * 1024;

impl<B> ResponseBody<B> {
    pub(crate) fn rejected(text: Bytes) -> Self {
        Self { kind: Kind::Rejected { text: (!text.is_empty()).then_some(text) } }
    }
}

impl<B: Body> ResponseBody<B> {
    /// The service's response, whose body holds `guard`.
    pub(crate) fn admitted(
        response: Response<B>,
        mut guard: Option<Guard>,
        side: Side,
    ) -> Response<Self> {
        let length = Length::of(response.body());
        let size = Size::of(response.headers(), length, &mut guard, side);
        response.map(|body| Self::around(body, guard, size))
    }
}

impl<B> ResponseBody<B> {
    /// The service's response, whose body holds nothing.
    #[inline(always)]
    pub(crate) fn unguarded(response: Response<B>) -> Response<Self> {
        response.map(|body| Self::around(body, None, Size::NONE))
    }

    /// The body of the service's response, which holds `guard`.
    #[inline(always)]
    pub(crate) const fn around(body: B, guard: Option<Guard>, size: Size) -> Self {
        Self { kind: Kind::Admitted { body, guard, size } }
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Bytes of a body of known length that are still to be sent.
    left: Option<u64>,
    /// Longer than a short body, or of unknown length.
    is_long: bool,
}

/// How long a body says that it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) exact: Option<u64>,
    pub(crate) is_end: bool,
}

impl Length {
    #[inline(always)]
    pub(crate) fn of<B: Body>(body: &B) -> Self {
        Self { exact: body.size_hint().exact(), is_end: body.is_end_stream() }
    }
}

impl Size {
    /// Of a body that holds no guard.
    pub(crate) const NONE: Self = Self { left: None, is_long: false };

    /// The size of a response's body. Where there is none, the guard ends; otherwise, the body begins.
    #[inline(always)]
    pub(crate) fn of(
        headers: &HeaderMap,
        length: Length,
        guard: &mut Option<Guard>,
        side: Side,
    ) -> Self {
        // HTTP/1 stops polling a body of known length once it has all of it.
        let left = guard.as_ref().and_then(|_| content_length(headers));
        if left == Some(0) || length.is_end {
            *guard = None;
        }
        // The body may never be polled: a reader need not even take the head.
        let is_long = length.exact.or(left).is_none_or(|size| size > MAX_SHORT_BODY);
        if let Some(permit) = guard.as_mut().and_then(Guard::permit) {
            match (is_long, side) {
                (true, _) => permit.starts_long_body(),
                (false, Side::Server) => permit.waits_for_reader(Duration::ZERO),
                (false, Side::Client) => permit.waits_for_caller(),
            }
        }
        Self { left, is_long }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Rejected { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
            KindProj::Admitted { mut body, guard, size } => {
                // Only a long body under an adaptive limit pays for the clock.
                let is_timed = size.is_long
                    && guard.as_mut().and_then(Guard::permit).is_some_and(|it| it.is_watched());
                let started = is_timed.then(Instant::now);
                let polled = body.as_mut().poll_frame(cx);
                let busy = started.map_or(Duration::ZERO, |started| started.elapsed());
                let mut permit = guard.as_mut().and_then(Guard::permit);
                if let Some(permit) = permit.as_mut().filter(|_| is_timed) {
                    permit.worked_on_body(busy);
                }
                match (&polled, permit) {
                    (Poll::Ready(frame), _)
                        if body.is_end_stream() || is_last(frame, &mut size.left) =>
                    {
                        *guard = None;
                    }
                    (Poll::Ready(_), Some(permit)) => permit.waits_for_reader(busy),
                    (Poll::Pending, Some(permit)) => permit.waits_for_service(),
                    (_, None) => {}
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Rejected { text } => text.is_none(),
            Kind::Admitted { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Rejected { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Admitted { body, .. } => body.size_hint(),
        }
    }
}

/// Whether nothing comes after this frame; counts the bytes of a body of known length.
fn is_last<E>(frame: &Option<Result<Frame<Bytes>, E>>, left: &mut Option<u64>) -> bool {
    let Some(Ok(frame)) = frame else {
        return true;
    };
    if let (Some(data), Some(left)) = (frame.data_ref(), left.as_mut()) {
        *left = left.saturating_sub(data.remaining() as u64);
    }
    frame.is_trailers() || *left == Some(0)
}

impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::rejected(Bytes::new())
    }
}
