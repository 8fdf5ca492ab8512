//! A client whose layers follow the file.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::set::PolicySet;
use crate::client::BackpressureClient;
use crate::{ClientStack, ThrottleLayer};

/// The layers around a client that a file names, which follow the file.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
/// use tower_backpressure::policy::PolicySet;
///
/// let policies = PolicySet::parse("[client.payments]\nretry = { max_attempts = 2 }\n")?;
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = policies.client("payments").expect("the file names it").layer(hyper);
/// # let _ = client;
/// # Ok::<(), tower_backpressure::policy::PolicyError>(())
/// ```
///
/// A reload takes effect with the next request. Of its layers, those that do not change keep their state: budget,
/// cool-downs, limits and breakers. A client that the file does not name any more keeps the layers that it has.
#[derive(Clone, Debug)]
pub struct PolicyClientLayer {
    set: PolicySet,
    name: Arc<str>,
    /// The layers that a request has met last, and the number of their file.
    last: Arc<ArcSwap<(u64, ClientStack)>>,
}

/// The service of [`PolicyClientLayer`].
#[derive(Clone)]
pub struct WithPolicyClient<S> {
    inner: S,
    layer: PolicyClientLayer,
    /// The layers that the last request has met, and the number of the file that they come from.
    current: (u64, BackpressureClient<S>),
}

impl PolicySet {
    /// The layers of the client with this name, which follow the file; `None`: the file has no such client.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<PolicyClientLayer> {
        PolicyClientLayer::new(self, name)
    }

    /// The throttle of the client with this name in force now, where the file has one. It belongs between retries and
    /// the client. It does not follow the file.
    #[must_use]
    pub fn throttle(&self, name: &str) -> Option<ThrottleLayer> {
        self.shared.current.load().stable.layers.client.get(name)?.throttle.clone()
    }
}

impl PolicyClientLayer {
    /// `None`: the file has no client of this name.
    pub(super) fn new(set: &PolicySet, name: &str) -> Option<Self> {
        let last = Arc::new(ArcSwap::from_pointee(current(set, name)?));
        Some(Self { set: set.clone(), name: name.into(), last })
    }

    /// The layers in force now, to add to: a strategy for bodies that cannot be copied, a
    /// [`DependencyLayer`](crate::DependencyLayer). What is made of them does not follow the file.
    #[must_use]
    pub fn stack(&self) -> ClientStack {
        self.current().1
    }

    /// The layers, and the number of the file in force. A client that the file does not name any more keeps those that
    /// it had last.
    fn current(&self) -> (u64, ClientStack) {
        match current(&self.set, &self.name) {
            Some(current) => {
                self.last.store(Arc::new(current.clone()));
                current
            }
            None => (self.number(), self.last.load().1.clone()),
        }
    }

    /// The number of the file in force.
    fn number(&self) -> u64 {
        self.set.shared.current.load().stable.number
    }
}

fn current(set: &PolicySet, name: &str) -> Option<(u64, ClientStack)> {
    let snapshot = set.shared.current.load();
    let stack = snapshot.stable.layers.client.get(name)?.stack.clone();
    Some((snapshot.stable.number, stack))
}

impl<S: Clone> Layer<S> for PolicyClientLayer {
    type Service = WithPolicyClient<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let (number, stack) = self.current();
        let current = (number, stack.layer(inner.clone()));
        WithPolicyClient { inner, layer: self.clone(), current }
    }
}

impl<S: Clone> WithPolicyClient<S> {
    /// The client with the layers in force. Layers of which a reload changes nothing keep their state.
    fn client(&mut self) -> &mut BackpressureClient<S> {
        if self.current.0 != self.layer.number() {
            let (number, stack) = self.layer.current();
            self.current = (number, stack.layer(self.inner.clone()));
        }
        &mut self.current.1
    }
}

impl<S> WithPolicyClient<S> {
    /// The client inside all layers.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The client inside, without the layers.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for WithPolicyClient<S>
where
    S: Clone,
    BackpressureClient<S>: Service<Request<B>>,
{
    type Response = <BackpressureClient<S> as Service<Request<B>>>::Response;
    type Error = <BackpressureClient<S> as Service<Request<B>>>::Error;
    type Future = <BackpressureClient<S> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.client().poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // `poll_ready` has polled this very client, even if a reload has replaced it since.
        self.current.1.call(request)
    }
}

#[cfg(feature = "reqwest")]
impl<S> Service<reqwest::Request> for WithPolicyClient<S>
where
    S: Clone,
    BackpressureClient<S>: Service<reqwest::Request>,
{
    type Response = <BackpressureClient<S> as Service<reqwest::Request>>::Response;
    type Error = <BackpressureClient<S> as Service<reqwest::Request>>::Error;
    type Future = <BackpressureClient<S> as Service<reqwest::Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.client().poll_ready(cx)
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        self.current.1.call(request)
    }
}

impl<S: fmt::Debug> fmt::Debug for WithPolicyClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.layer.name;
        f.debug_struct("WithPolicyClient").field("name", name).field("inner", &self.inner).finish()
    }
}
