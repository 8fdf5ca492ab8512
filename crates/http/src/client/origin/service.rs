//! The service of the layer.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::Origins;
use super::name::Origin;
use crate::admission::ResponseFuture;
use crate::body::ResponseBody;

/// A client that keeps to what each server can use: made by
/// [`OriginLimitLayer`](crate::OriginLimitLayer).
#[derive(Clone, Debug)]
pub struct OriginLimit<S> {
    pub(super) inner: S,
    pub(super) origins: Arc<Origins>,
}

impl<S> OriginLimit<S> {
    pub(super) const fn new(inner: S, origins: Arc<Origins>) -> Self {
        Self { inner, origins }
    }

    /// The client below.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The client below, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The client below, without limits.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for OriginLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: 'static,
    ResBody: Body + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    /// Always ready: only a request tells whom it goes to. The readiness of the client below is
    /// asked for once it is admitted.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let shared = self.origins.at(Origin::of(&request));
        ResponseFuture::new(&mut self.inner, request, &shared)
    }
}
