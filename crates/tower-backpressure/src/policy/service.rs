//! The service: each request meets the layers of its policy.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::PolicySet;
use super::choose::{Bulkhead, Chosen};
use super::sample::Sample;
use super::stage::Stage;
use crate::admission::Policy;
use crate::admission::body::ResponseBody;
use crate::server::QuotaRules;

/// The service of [`PolicySet`]: each request meets the layers of its policy.
#[derive(Clone, Debug)]
pub struct WithPolicies<S> {
    stack: Stack<S>,
    set: PolicySet,
}

/// The layers of a policy, from the outside: quotas, admission, bulkhead.
type Stack<S> = Stage<Stage<Stage<Stage<S, Policy>, Policy>, QuotaRules>, QuotaRules>;

/// The body of a response that has passed the layers of a policy.
pub type PolicyBody<B> = ResponseBody<ResponseBody<ResponseBody<ResponseBody<B>>>>;

pin_project! {
    /// The future of [`WithPolicies`].
    #[must_use = "futures do nothing unless polled"]
    pub struct PolicyFuture<S, B>
    where
        Stack<S>: Service<Request<B>>,
    {
        #[pin]
        inner: <Stack<S> as Service<Request<B>>>::Future,
        // `None` unless a canary runs.
        sample: Option<Sample>,
    }
}

impl<S> Layer<S> for PolicySet {
    type Service = WithPolicies<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let stack = Stage::without_layer(Stage::without_layer(inner));
        let stack = Stage::without_layer(Stage::without_layer(stack));
        WithPolicies { stack, set: self.clone() }
    }
}

impl<S> WithPolicies<S> {
    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.stack.inner.inner.inner.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.stack.inner.inner.inner.inner
    }

    /// The service inside, without the layers.
    pub fn into_inner(self) -> S {
        self.stack.inner.inner.inner.inner
    }
}

/// Makes the stack that of one policy. The stages hold what they need, so that a reload changes no request that is on
/// its way.
fn prepare<S, B>(stack: &mut Stack<S>, chosen: &Chosen, request: Request<B>) -> Request<B> {
    let [outer, inner] = &chosen.quotas;
    stack.layer.clone_from(outer);
    let stack = &mut stack.inner;
    stack.layer.clone_from(inner);
    let stack = &mut stack.inner;
    stack.layer.clone_from(&chosen.admission);
    let stack = &mut stack.inner;
    match &chosen.bulkhead {
        None => stack.layer = None,
        Some(Bulkhead::One(policy)) => stack.layer = Some(Arc::clone(policy)),
        Some(Bulkhead::Keyed(select)) => {
            let (head, body) = request.into_parts();
            stack.layer = Some(select(&head));
            return Request::from_parts(head, body);
        }
    }
    request
}

impl<S, B, R> Service<Request<B>> for WithPolicies<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: 'static,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<PolicyBody<R>>;
    type Error = S::Error;
    type Future = PolicyFuture<S, B>;

    /// Always ready: a permit reserved here would be held by an idle clone.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (request, sample) = {
            let snapshot = self.set.shared.current.load();
            let (chooser, part) = snapshot.version_for(&request);
            let sample = part.map(|part| Sample::new(&self.set, part));
            (prepare(&mut self.stack, chooser.choose(&request), request), sample)
        };
        PolicyFuture { inner: self.stack.call(request), sample }
    }
}

impl<S, B, R> Future for PolicyFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: 'static,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Output = Result<Response<PolicyBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Some(sample) = this.sample.take() {
            sample.record(
                result.as_ref().ok().map(|response| (response.status(), response.headers())),
            );
        }
        Poll::Ready(result)
    }
}

impl<S, B> fmt::Debug for PolicyFuture<S, B>
where
    Stack<S>: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFuture").finish_non_exhaustive()
    }
}
