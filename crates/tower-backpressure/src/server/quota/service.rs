//! The service of the quota layer.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::future::QuotaFuture;
use super::rules::Rules;
use crate::admission::body::ResponseBody;

/// A service that takes tokens for each request before it calls the service inside.
#[derive(Clone, Debug)]
pub struct WithQuota<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> WithQuota<S> {
    pub(super) const fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the quota.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WithQuota<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: 'static,
    ResBody: Body + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = QuotaFuture<S, ReqBody>;

    /// Always ready: readiness reserved here would be held by an idle clone.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        QuotaFuture::new(&mut self.inner, request, &self.rules)
    }
}
