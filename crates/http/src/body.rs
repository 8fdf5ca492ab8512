//! The body of a response, and the permit it carries to its end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_gate::Place;
use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::content_length::content_length;
use crate::held::Held;

pin_project! {
    /// The body of what an admission layer answers: the service's own, or that of a refusal.
    ///
    /// It gives the permit back when the body ends, fails or is dropped, whichever comes first. A reader
    /// that stops reading holds memory and no capacity: after a while the place counts apart, until the
    /// reader asks for more.
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
            held: Option<Held<Place>>,
            // Bytes to come, where that is known.
            left: Option<u64>,
            // Longer than what is handed over at once, or of unknown length.
            is_long: bool,
        },
        Refused { text: Option<Bytes> },
    }
}

/// A body up to this size fits the buffers of a connection: it is handed over at once, and what the
/// reader does then is no concern of the service.
const SHORT_BODY: u64 = 64 * 1024;

impl<B> ResponseBody<B> {
    pub(crate) fn refused(text: Bytes) -> Self {
        Self { kind: Kind::Refused { text: (!text.is_empty()).then_some(text) } }
    }
}

impl<B: Body> ResponseBody<B> {
    /// The service's response; `held` is what its body carries.
    pub(crate) fn admit(response: Response<B>, held: Option<Held<Place>>) -> Response<Self> {
        // HTTP/1 stops polling a body of known length once it has all of it.
        let left = held.as_ref().and_then(|_| content_length(response.headers()));
        let mut held = held.filter(|_| left != Some(0) && !response.body().is_end_stream());
        // The body may never be polled: a reader need not even take the head.
        let size = response.body().size_hint().exact().or(left);
        let is_long = size.is_none_or(|size| size > SHORT_BODY);
        if let Some(place) = held.as_mut().and_then(Held::place) {
            match is_long {
                true => place.begins_long_body(),
                false => place.reader_owes(Duration::ZERO),
            }
        }
        response.map(|body| Self { kind: Kind::Admitted { body, held, left, is_long } })
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
            KindProj::Refused { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
            KindProj::Admitted { mut body, held, left, is_long } => {
                let place = held.as_mut().and_then(Held::place);
                let is_timed = *is_long && place.is_some_and(|place| place.is_watched_for_work());
                // Only a long body under an adaptive limit pays for the clock.
                let begun = is_timed.then(Instant::now);
                let polled = body.as_mut().poll_frame(cx);
                let place = held.as_mut().and_then(Held::place);
                match (&polled, place) {
                    (Poll::Ready(frame), _) if body.is_end_stream() || is_last(frame, left) => {
                        *held = None;
                    }
                    (Poll::Ready(_), Some(place)) => {
                        place.reader_owes(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
                    }
                    (Poll::Pending, Some(place)) => place.service_owes(),
                    (_, None) => {}
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Refused { text } => text.is_none(),
            Kind::Admitted { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Refused { text } => {
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
    /// An empty body: what layers of tower-http put in the place of one they take away.
    fn default() -> Self {
        Self::refused(Bytes::new())
    }
}
