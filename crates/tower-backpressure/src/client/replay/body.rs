//! A request body that is kept while it is sent, up to a bound, so that it can be sent again.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body whose parts are kept as they are sent, up to a number of bytes.
///
/// [`RetryLayer::buffer_bodies`](crate::RetryLayer::buffer_bodies) makes one from a body that cannot be
/// copied. A retry sends the kept parts again, and then the rest. A body that exceeds the bound is committed:
/// what was kept is dropped, the rest passes through, and the request is not sent again.
///
/// Once a retry reads it, the body of the attempt before fails with an error, so that a connection that is
/// still sending it ends.
pub struct ReplayBody<B> {
    shared: Arc<Mutex<Shared<B>>>,
    /// The attempt that this body belongs to.
    attempt: u32,
    /// Parts that this attempt has sent.
    sent: usize,
}

struct Shared<B> {
    /// What has not been read from the original body yet; `None` after its end.
    rest: Option<Pin<Box<B>>>,
    /// `None` once the body is committed.
    kept: Option<Kept>,
    max_bytes: usize,
    /// The attempt that reads the body now, and its waker while it waits for the original body.
    attempt: u32,
    reader: Option<Waker>,
    /// The original body failed.
    failed: bool,
}

#[derive(Default)]
struct Kept {
    parts: Vec<Part>,
    bytes: usize,
}

#[derive(Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<B: Body> ReplayBody<B> {
    pub(super) fn new(body: B, max_bytes: usize) -> Self {
        let kept = Kept::default();
        let rest = (!body.is_end_stream()).then(|| Box::pin(body));
        let kept = Some(kept);
        let shared = Shared { rest, kept, max_bytes, attempt: 0, reader: None, failed: false };
        Self { shared: Arc::new(Mutex::new(shared)), attempt: 0, sent: 0 }
    }

    /// The body of the next attempt, from its beginning.
    pub(super) fn of_next_attempt(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), attempt: self.attempt + 1, sent: 0 }
    }

    /// Whether everything that was sent has been kept.
    pub(super) fn can_replay(&self) -> bool {
        let shared = self.lock();
        shared.kept.is_some() && !shared.failed
    }

    fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Shared<B> {
    /// Makes `attempt` the one that reads, and wakes the one before, which has to end. False when a later
    /// one reads already.
    fn take_over(&mut self, attempt: u32) -> bool {
        if attempt > self.attempt {
            self.attempt = attempt;
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        attempt == self.attempt
    }

    fn keep(&mut self, part: &Part) {
        let Some(kept) = &mut self.kept else { return };
        if let Part::Data(data) = part {
            kept.bytes = kept.bytes.saturating_add(data.len());
        }
        match kept.bytes <= self.max_bytes && kept.parts.len() < MAX_PARTS {
            true => kept.parts.push(part.clone()),
            false => self.kept = None,
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (attempt, sent) = (self.attempt, self.sent);
        let part = {
            let mut shared = self.lock();
            if !shared.take_over(attempt) {
                return Poll::Ready(Some(Err(Box::new(SentAgain))));
            }
            match shared.kept.as_ref().and_then(|kept| kept.parts.get(sent)) {
                Some(part) => Some(part.clone()),
                None => match shared.poll_rest(cx) {
                    Poll::Ready(part) => part.transpose()?,
                    Poll::Pending => {
                        shared.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                },
            }
        };
        self.sent += usize::from(part.is_some());
        Poll::Ready(part.map(|part| Ok(part.into_frame())))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.lock();
        let left =
            shared.kept.as_ref().map_or(0, |kept| kept.parts.len().saturating_sub(self.sent));
        shared.rest.is_none() && left == 0
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.lock();
        let kept = shared.kept.iter().flat_map(|kept| kept.parts.iter().skip(self.sent));
        let kept: u64 = kept.map(Part::len).sum();
        let rest = shared.rest.as_ref().map_or(SizeHint::with_exact(0), |rest| rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

impl<B> Shared<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Reads a part of the original body, and keeps it.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Part, BoxError>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let Poll::Ready(frame) = rest.as_mut().poll_frame(cx) else { return Poll::Pending };
        let ended = frame.is_none() || rest.is_end_stream();
        if ended {
            self.rest = None;
        }
        let part = match frame {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => Part::of(frame),
            Some(Err(error)) => {
                self.failed = true;
                self.rest = None;
                return Poll::Ready(Some(Err(error.into())));
            }
        };
        self.keep(&part);
        Poll::Ready(Some(Ok(part)))
    }
}

impl Part {
    fn of<D: Buf>(frame: Frame<D>) -> Self {
        match frame.into_data() {
            Ok(mut data) => Self::Data(data.copy_to_bytes(data.remaining())),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap_or_default()),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, sent, .. } = self;
        f.debug_struct("ReplayBody")
            .field("attempt", attempt)
            .field("sent", sent)
            .finish_non_exhaustive()
    }
}

/// A later attempt sends the body now.
#[derive(Clone, Copy, Debug)]
struct SentAgain;

impl fmt::Display for SentAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is being sent again")
    }
}

impl Error for SentAgain {}

/// Parts that are kept at most, as empty and tiny ones cost memory too.
const MAX_PARTS: usize = 1024;

#[cfg(test)]
mod tests;
