//! The service of every layer that admits requests.

use std::borrow::Borrow;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::ResponseBody;
use super::{Policy, ResponseFuture};

/// A service that admits requests before it calls the service inside.
///
/// [`Admission`](crate::Admission) is this with one limiter, [`OriginLimit`](crate::OriginLimit) with
/// one for each origin.
#[derive(Clone, Debug)]
pub struct Limited<S, P> {
    pub(crate) inner: S,
    pub(crate) policies: P,
}

/// Selects the policy for a request: the only one, or that of the request's origin.
pub trait SelectPolicy {
    /// A policy, borrowed or shared.
    type Selected<'a>: Borrow<Arc<Policy>>
    where
        Self: 'a;

    /// The policy that admits this request.
    fn select<B>(&self, request: &Request<B>) -> Self::Selected<'_>;
}

impl SelectPolicy for Arc<Policy> {
    type Selected<'a> = &'a Self;

    fn select<B>(&self, _request: &Request<B>) -> &Self {
        self
    }
}

impl<S, P> Limited<S, P> {
    pub(crate) const fn new(inner: S, policies: P) -> Self {
        Self { inner, policies }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the limit.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, ReqBody, ResBody> Service<Request<ReqBody>> for Limited<S, P>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    P: SelectPolicy,
    ReqBody: 'static,
    ResBody: Body + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    /// Always ready: a permit reserved here would be held by an idle clone, and servers ignore
    /// readiness. The readiness of the service inside is awaited once the request is admitted.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let policy = self.policies.select(&request);
        ResponseFuture::new::<ResBody>(&mut self.inner, request, policy.borrow())
    }
}
