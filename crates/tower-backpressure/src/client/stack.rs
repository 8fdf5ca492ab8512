//! The recommended layers of a client in the recommended order, in one call.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Uri};
use tower_layer::Layer;
use tower_service::Service;

use super::attempt_timeout::{AttemptTimeout, AttemptTimeoutLayer};
use super::breaker::{Breaker, BreakerLayer};
use super::cooldown::{Cooldown, CooldownLayer};
use super::dependency::DependencyLayer;
use super::origin_limit::{OriginLimit, OriginLimitLayer};
use super::replay::ByClone;
use super::retry::{Retry, RetryLayer};

/// All client layers around a client, in the recommended order:
///
/// ```text
/// deadline → RetryLayer → CooldownLayer → OriginLimitLayer → BreakerLayer
///          → AttemptTimeoutLayer → client
/// ```
///
/// Over reqwest (feature `reqwest`), over hyper-util's client, over a tonic channel, and over any other
/// `Service` of [`http::Request`]s. [`backpressure_client`] does it with all defaults.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::Layer;
/// use tower_backpressure::client::ClientStack;
/// use tower_backpressure::RetryLayer;
///
/// let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let client = ClientStack::new("payments-api")
///     .deadline(Duration::from_secs(10))
///     .retry(RetryLayer::named("payments-api").max_attempts(2))
///     .layer(hyper);
/// # let _ = client;
/// ```
///
/// Over a tonic channel the retry layer has to keep bodies, which cannot be copied:
/// `.retry(RetryLayer::named("echo").buffer_bodies(64 * 1024, tonic::body::Body::new))`.
///
/// # Each part can be replaced
///
/// The methods take a layer with options of your own; a layer with `dry_run(true)` only counts. A layer of your
/// own between two of these, or in place of one, needs the stack written out. It is this:
///
/// ```
/// # use std::time::Duration;
/// # use bytes::Bytes;
/// # use http_body_util::Full;
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # use tower_backpressure::client::AttemptTimeoutLayer;
/// # use tower_backpressure::{BreakerLayer, CooldownLayer, OriginLimitLayer, RetryLayer};
/// # use tower::ServiceBuilder;
/// # let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let cooldown = CooldownLayer::new("payments-api");
/// let retry = RetryLayer::named("payments-api").deadline(Duration::from_secs(30));
/// let client = ServiceBuilder::new()
///     .layer(retry.cooldown(&cooldown))
///     .layer(cooldown.clone())
///     .layer(OriginLimitLayer::new("payments-api").cooldown(&cooldown))
///     .layer(BreakerLayer::new("payments-api"))
///     // Here goes what belongs to each attempt: a signature with the time, a span, a header.
///     .layer(AttemptTimeoutLayer::new(Duration::from_secs(30)))
///     .service(hyper);
/// # let _ = client;
/// ```
///
/// # Options
///
/// | option | default | why |
/// |---|---|---|
/// | [`deadline`](Self::deadline) | 30 s | about when callers and proxies give up |
/// | [`attempt_timeout`](Self::attempt_timeout) | 30 s | an attempt may use all of the time; shorter where a second attempt is worth more |
/// | [`retry`](Self::retry), [`cooldown`](Self::cooldown), [`origin_limit`](Self::origin_limit), [`breaker`](Self::breaker) | those of the layers | |
///
/// Make the stack once and clone the client: clones share all state.
#[derive(Clone, Debug)]
pub struct ClientStack<R = ByClone> {
    deadline: Duration,
    retry: RetryLayer<R>,
    cooldown: CooldownLayer,
    origin_limit: OriginLimitLayer,
    breaker: BreakerLayer,
    attempt_timeout: AttemptTimeoutLayer,
}

/// The service of [`ClientStack`].
#[derive(Clone, Debug)]
pub struct BackpressureClient<S, R = ByClone> {
    inner: Stack<S, R>,
}

/// The layers in their order.
type Stack<S, R> = Retry<Cooldown<OriginLimit<Breaker<AttemptTimeout<S>>>>, R>;

/// All client layers around a client, with their defaults: [`ClientStack`] in one call.
///
/// `name` labels metrics and events: the origin, or the purpose.
///
/// ```
/// # #[cfg(feature = "reqwest")] {
/// use tower_backpressure::client::backpressure_client;
///
/// let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build();
/// let client = backpressure_client("payments-api", reqwest.expect("the options are valid"));
/// # let _ = client;
/// # }
/// ```
#[must_use]
pub fn backpressure_client<S>(name: &str, client: S) -> BackpressureClient<S> {
    ClientStack::new(name).layer(client)
}

impl ClientStack {
    /// All layers with their defaults; `name` labels metrics and events.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            deadline: DEFAULT_DEADLINE,
            retry: RetryLayer::named(name.to_owned()),
            origin_limit: OriginLimitLayer::new(name),
            cooldown: CooldownLayer::new(name),
            breaker: BreakerLayer::new(name),
            attempt_timeout: AttemptTimeoutLayer::new(DEFAULT_DEADLINE),
        }
    }
}

impl<R> ClientStack<R> {
    /// The time from `call` after which a response is worthless; see [`RetryLayer::deadline`].
    ///
    /// # Panics
    /// When `deadline` is zero.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        let retry = self.retry.deadline(deadline);
        Self { deadline, retry, ..self }
    }

    /// How long one attempt may take until the head of its response.
    ///
    /// # Panics
    /// When `timeout` is zero.
    #[must_use]
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        Self { attempt_timeout: AttemptTimeoutLayer::new(timeout), ..self }
    }

    /// The retry layer. It gets the deadline of the stack. For bodies that cannot be copied, such as those of a
    /// tonic channel, it is one with [`buffer_bodies`](RetryLayer::buffer_bodies).
    #[must_use]
    pub fn retry<T>(self, retry: RetryLayer<T>) -> ClientStack<T> {
        let Self { deadline, cooldown, origin_limit, breaker, attempt_timeout, .. } = self;
        let retry = retry.deadline(deadline);
        ClientStack { deadline, retry, cooldown, origin_limit, breaker, attempt_timeout }
    }

    /// The cool-down layer.
    #[must_use]
    pub fn cooldown(self, cooldown: CooldownLayer) -> Self {
        Self { cooldown, ..self }
    }

    /// The limit for each origin. It honours the cool-downs of the stack, unless it honours those of another
    /// layer.
    #[must_use]
    pub fn origin_limit(self, origin_limit: OriginLimitLayer) -> Self {
        Self { origin_limit, ..self }
    }

    /// The breaker layer.
    #[must_use]
    pub fn breaker(self, breaker: BreakerLayer) -> Self {
        Self { breaker, ..self }
    }
}

impl<R> ClientStack<R> {
    /// For a route whose handler sends requests to `origin` through this stack: rejects a request before the
    /// handler runs while the stack would reject what the handler sends. See [`DependencyLayer`].
    ///
    /// Call it on the stack that the client is made with: options that are set later make layers without state.
    #[must_use]
    pub fn dependency(&self, origin: &Uri) -> DependencyLayer {
        self.origin_limit.link(&self.cooldown);
        let layer = DependencyLayer::new(origin).cooldown(&self.cooldown).breaker(&self.breaker);
        layer.origin_limit(&self.origin_limit)
    }
}

impl<S, R: Clone> Layer<S> for ClientStack<R> {
    type Service = BackpressureClient<S, R>;

    fn layer(&self, client: S) -> Self::Service {
        self.origin_limit.link(&self.cooldown);
        let client = self.breaker.layer(self.attempt_timeout.layer(client));
        let client = self.cooldown.layer(self.origin_limit.layer(client));
        BackpressureClient { inner: self.retry.linked(&self.cooldown).layer(client) }
    }
}

impl<S, R> BackpressureClient<S, R> {
    /// The client inside all layers.
    pub const fn get_ref(&self) -> &S {
        self.inner.get_ref().get_ref().get_ref().get_ref().get_ref()
    }

    /// The client inside all layers, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        self.inner.get_mut().get_mut().get_mut().get_mut().get_mut()
    }

    /// The client inside, without the layers.
    pub fn into_inner(self) -> S {
        self.inner.into_inner().into_inner().into_inner().into_inner().into_inner()
    }
}

impl<S, R, B> Service<Request<B>> for BackpressureClient<S, R>
where
    Stack<S, R>: Service<Request<B>>,
{
    type Response = <Stack<S, R> as Service<Request<B>>>::Response;
    type Error = <Stack<S, R> as Service<Request<B>>>::Error;
    type Future = <Stack<S, R> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.call(request)
    }
}

#[cfg(feature = "reqwest")]
impl<S, R> Service<reqwest::Request> for BackpressureClient<S, R>
where
    Stack<S, R>: Service<reqwest::Request>,
{
    type Response = <Stack<S, R> as Service<reqwest::Request>>::Response;
    type Error = <Stack<S, R> as Service<reqwest::Request>>::Error;
    type Future = <Stack<S, R> as Service<reqwest::Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        self.inner.call(request)
    }
}

/// About when callers and proxies in front of a client give up, as in `RetryLayer`.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
