//! How a request is kept, so that it can be sent again.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::Request;
use http_body::Body;

use super::{Replay, ReplayBody, RequestHead};

/// Keeps a request for its retries. Sealed; the options of [`RetryLayer`](crate::RetryLayer) choose one.
pub trait KeepForRetry<Req>: Clone + sealed::Sealed {
    /// The request between two attempts.
    type Kept: RequestHead;

    /// Takes the request before its first attempt.
    fn keep(&self, request: Req) -> Self::Kept;

    /// What an attempt sends. It takes what is kept and, with `again`, leaves what the next attempt needs.
    fn send(&self, kept: &mut Option<Self::Kept>, again: bool) -> Option<Req>;

    /// Whether what is kept can be sent.
    fn can_send(&self, _kept: &Self::Kept) -> bool {
        true
    }
}

/// The default: requests are cloned before they are sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

/// Requests are made anew for each retry: see [`RetryLayer::rebuild`](crate::RetryLayer::rebuild).
pub struct Rebuilt<F>(pub(crate) Arc<F>);

/// Bodies are kept while they are sent: see
/// [`RetryLayer::buffer_bodies`](crate::RetryLayer::buffer_bodies).
pub struct Buffered<F> {
    pub(crate) max_bytes: usize,
    pub(crate) wrap: Arc<F>,
}

impl<Req: Replay> KeepForRetry<Req> for ByClone {
    type Kept = Req;

    fn keep(&self, request: Req) -> Req {
        request
    }

    fn send(&self, kept: &mut Option<Req>, again: bool) -> Option<Req> {
        send_and_copy(kept, again, Req::replay)
    }
}

impl<Req, F> KeepForRetry<Req> for Rebuilt<F>
where
    Req: RequestHead,
    F: Fn(&Req) -> Option<Req>,
{
    type Kept = Req;

    fn keep(&self, request: Req) -> Req {
        request
    }

    fn send(&self, kept: &mut Option<Req>, again: bool) -> Option<Req> {
        send_and_copy(kept, again, &*self.0)
    }
}

/// Takes a request, and leaves a copy for the next attempt.
fn send_and_copy<Req>(
    kept: &mut Option<Req>,
    again: bool,
    copy: impl FnOnce(&Req) -> Option<Req>,
) -> Option<Req> {
    let request = kept.take()?;
    *kept = again.then(|| copy(&request)).flatten();
    Some(request)
}

impl<B, F> KeepForRetry<Request<B>> for Buffered<F>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Fn(ReplayBody<B>) -> B,
{
    type Kept = Request<ReplayBody<B>>;

    fn keep(&self, request: Request<B>) -> Self::Kept {
        request.map(|body| ReplayBody::new(body, self.max_bytes))
    }

    fn send(&self, kept: &mut Option<Self::Kept>, again: bool) -> Option<Request<B>> {
        let (parts, body) = kept.take()?.into_parts();
        if again {
            *kept = Some(Request::from_parts(parts.clone(), body.of_next_attempt()));
        }
        Some(Request::from_parts(parts, (self.wrap)(body)))
    }

    fn can_send(&self, kept: &Self::Kept) -> bool {
        kept.body().can_replay()
    }
}

impl<F> Clone for Rebuilt<F> {
    /// Not derived, as that would require `F: Clone`.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Clone for Buffered<F> {
    /// Not derived, as that would require `F: Clone`.
    fn clone(&self) -> Self {
        Self { max_bytes: self.max_bytes, wrap: Arc::clone(&self.wrap) }
    }
}

impl<F> fmt::Debug for Rebuilt<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuilt").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Buffered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::ByClone {}
    impl<F> Sealed for super::Rebuilt<F> {}
    impl<F> Sealed for super::Buffered<F> {}
}
