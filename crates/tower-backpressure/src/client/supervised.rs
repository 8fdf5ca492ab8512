//! The service of the layers that decide in a client whether an attempt is sent: cool-down, throttle and
//! breaker.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::admission::body::ResponseBody;

mod attempt;
mod future;
mod held;
mod part;
#[cfg(feature = "reqwest")]
mod reqwest;
mod shared;
mod telemetry;
mod told;

pub use self::future::SupervisedFuture;
pub(super) use self::held::{Held, Hold};
#[cfg(feature = "reqwest")]
pub use self::reqwest::SupervisedReqwestFuture;
pub(super) use self::shared::{
    Ended, How, Origin, Shared, Supervision, Transition, Verdict, transition,
};
pub(super) use self::told::told_wait;

/// A service that asks before each attempt whether it may be sent, and learns from its response.
///
/// [`Cooldown`](super::Cooldown), [`Throttle`](super::Throttle) and [`Breaker`](super::Breaker) are this service
/// with different decisions.
pub struct Supervised<S, T: Supervision> {
    inner: S,
    shared: Arc<Shared<T>>,
}

impl<S, T: Supervision> Supervised<S, T> {
    pub(super) const fn new(inner: S, shared: Arc<Shared<T>>) -> Self {
        Self { inner, shared }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the decisions.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for Supervised<S, T>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    T: Supervision,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = SupervisedFuture<S, T, ReqBody>;

    /// Always ready: readiness reserved here could be left unused on an idle clone.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (request, state) = self.shared.state_of_request(request);
        SupervisedFuture::new(&mut self.inner, request, &self.shared, state, |_| ())
    }
}

// Derived, it would require that `T` can be cloned.
impl<S: Clone, T: Supervision> Clone for Supervised<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, T: Supervision> fmt::Debug for Supervised<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("inner", &self.inner).finish_non_exhaustive()
    }
}
