//! The request info layer: reads priority, deadline, tenant and cost of a request for the layers inside.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, Request};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::deadline::Deadline;
use crate::headers::attempts;
use crate::headers::cost::cost;
use crate::headers::criticality::CRITICALITY;
use crate::request_info::RequestInfo;

mod proxy_clock;
mod rules;

use self::proxy_clock::ProxyClock;
use self::rules::Rules;

/// Reads what the headers of a request say of its priority and deadline, and puts a [`RequestInfo`] into its
/// extensions for the layers inside.
///
/// ```
/// use axum::{Router, routing::get};
/// use std::time::Duration;
/// use tower_backpressure::{AdmissionLayer, Priority, RequestInfo, RequestInfoLayer};
///
/// let info = RequestInfoLayer::from_headers()
///     .timeout(Duration::from_secs(10))
///     .base(|head: &http::request::Parts| match head.uri.path() {
///         "/checkout" => RequestInfo::default().priority(Priority::Critical),
///         _ => RequestInfo::default(),
///     });
/// let app: Router = Router::new()
///     .route("/checkout", get(|| async { "paid" }))
///     .layer(AdmissionLayer::adaptive("api"))
///     .layer(info); // outermost: runs before the request is queued
/// ```
///
/// # Fields
/// | field | meaning |
/// |---|---|
/// | `grpc-timeout`, `connect-timeout-ms`, `x-envoy-expected-rq-timeout-ms`, [`Request-Timeout`](crate::REQUEST_TIMEOUT) | the time that the caller waits; the shortest counts |
/// | [`X-Criticality`](crate::CRITICALITY) | the priority by name |
/// | `Priority` (RFC 9218) | `u=0` critical, 1 to 3 normal, 4 to 6 deferrable, 7 sheddable; where there is no criticality |
/// | [`X-Request-Cost`](crate::REQUEST_COST) | the units of the limit that the request takes; from trusted peers only |
/// | [`x-previous-attempts`](crate::client::PREVIOUS_ATTEMPTS), `grpc-previous-rpc-attempts`, `x-envoy-attempt-count` | how often the caller has sent it before, which it then repeats itself |
/// | `X-Request-Start`, `X-Queue-Start` | when a proxy received the request: time in its queue counts towards the deadline; from trusted peers only |
///
/// A value that is malformed counts as absent. The clock of a proxy may be behind: what each request of the last minute or two
/// was on its way is no queue.
///
/// # Trust
/// A header is a claim. The claim of an untrusted caller may lower the priority and bring the deadline
/// forward, and never the opposite: all that a caller can do is to be served later than it might be. A
/// request that [`trust`](Self::trust) accepts may also raise its priority. No caller is trusted by
/// default.
///
/// # Errors
/// None of its own: the service's errors pass through.
#[derive(Clone)]
pub struct RequestInfoLayer {
    rules: Arc<Rules>,
}

/// The service of [`RequestInfoLayer`].
#[derive(Clone, Debug)]
pub struct WithRequestInfo<S> {
    inner: S,
    layer: RequestInfoLayer,
}

/// What the service itself knows of a request, whatever its headers claim. Closures are of this kind.
///
/// ```
/// use http::request::Parts;
/// use tower_backpressure::server::ExtractInfo;
/// use tower_backpressure::{RequestInfo, RequestInfoLayer, Tenant};
///
/// /// Set by an authentication layer further out.
/// #[derive(Clone)]
/// struct Account(u64);
///
/// struct ByAccount;
///
/// impl ExtractInfo for ByAccount {
///     fn extract(&self, head: &Parts) -> RequestInfo {
///         let info = RequestInfo::default();
///         match head.extensions.get() {
///             Some(&Account(number)) => info.tenant(Tenant::new(number)),
///             None => info,
///         }
///     }
/// }
///
/// let layer = RequestInfoLayer::from_headers().base(ByAccount);
/// # let _ = layer;
/// ```
pub trait ExtractInfo: Send + Sync + 'static {
    /// What the service knows of a request with this head.
    fn extract(&self, head: &Parts) -> RequestInfo;
}

impl<F: Fn(&Parts) -> RequestInfo + Send + Sync + 'static> ExtractInfo for F {
    fn extract(&self, head: &Parts) -> RequestInfo {
        self(head)
    }
}

impl RequestInfoLayer {
    /// Reads the headers of each request, and trusts no caller.
    #[must_use]
    pub fn from_headers() -> Self {
        let rules = Rules {
            base: None,
            reads_headers: true,
            trusts: None,
            criticality: CRITICALITY,
            timeout: None,
            proxy_clock: Arc::new(ProxyClock::new()),
        };
        Self { rules: Arc::new(rules) }
    }

    /// Reads no header: only `extract` says what a request is.
    ///
    /// ```
    /// use http::request::Parts;
    /// use tower_backpressure::{Priority, RequestInfo, RequestInfoLayer};
    ///
    /// let layer = RequestInfoLayer::from_fn(|head: &Parts| {
    ///     let is_batch = head.uri.path().starts_with("/reports");
    ///     let priority = if is_batch { Priority::Deferrable } else { Priority::Normal };
    ///     RequestInfo::default().priority(priority)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn from_fn(extract: impl ExtractInfo) -> Self {
        let mut layer = Self::from_headers().base(extract);
        layer.edit().reads_headers = false;
        layer
    }

    /// What the service itself says of a request, by its route or the identity of its caller. The headers of
    /// an untrusted caller may only lower this priority and bring this deadline forward.
    ///
    /// Without it, the base is what the extensions of the request say already.
    #[must_use]
    pub fn base(mut self, extract: impl ExtractInfo) -> Self {
        self.edit().base = Some(Arc::new(extract));
        self
    }

    /// Trusts the headers of requests for which `predicate` is true: those that a named proxy has sent, which
    /// sets or removes these headers itself. Tell it by its address or its certificate, not by a header.
    ///
    /// ```
    /// use axum::extract::ConnectInfo;
    /// use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    /// use tower_backpressure::RequestInfoLayer;
    ///
    /// const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    ///
    /// let layer = RequestInfoLayer::from_headers().trust(|head| {
    ///     let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
    ///     peer.is_some_and(|ConnectInfo(address)| address.ip() == PROXY)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn trust(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.edit().trusts = Some(Arc::new(predicate));
        self
    }

    /// The time from its arrival that a request has at most, whatever its caller says. There is none by
    /// default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.edit().timeout = Some(timeout);
        self
    }

    /// The name of the header for the criticality; [`CRITICALITY`] by default.
    #[must_use]
    pub fn criticality_header(mut self, name: HeaderName) -> Self {
        self.edit().criticality = name;
        self
    }

    /// What the layer says of a request with this head that arrives now. For servers without tower.
    ///
    /// ```
    /// use tower_backpressure::{Priority, RequestInfoLayer};
    ///
    /// let request = http::Request::builder().header("priority", "u=7").body(()).expect("valid");
    /// let info = RequestInfoLayer::from_headers().read(&request.into_parts().0);
    /// assert_eq!(info.priority, Priority::Sheddable);
    /// ```
    #[must_use]
    pub fn read(&self, head: &Parts) -> RequestInfo {
        let rules = &*self.rules;
        let base = match &rules.base {
            Some(base) => base.extract(head),
            None => RequestInfo::of(&head.extensions),
        };
        let arrived = Instant::now();
        let info = base.not_after(rules.timeout.and_then(|time| arrived.checked_add(time)));
        if !rules.reads_headers {
            return info;
        }
        let is_trusted = rules.trusts.as_ref().is_some_and(|trusts| trusts(head));
        let claimed = rules.claimed_priority(&head.headers);
        let priority = match claimed {
            Some(claimed) if is_trusted => claimed,
            Some(claimed) => claimed.min(info.priority),
            None => info.priority,
        };
        let queued = match is_trusted {
            true => rules.queued_before(&head.headers, arrived),
            false => Duration::ZERO,
        };
        let cost = is_trusted.then(|| cost(&head.headers)).flatten().unwrap_or(info.cost);
        let info = match attempts::previous(&head.headers) {
            Some(previous) => info.previous_attempts(previous),
            None => info,
        };
        info.priority(priority).cost(cost).not_after(rules.claimed_deadline(
            &head.headers,
            arrived,
            queued,
        ))
    }

    fn edit(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

impl<S> Layer<S> for RequestInfoLayer {
    type Service = WithRequestInfo<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithRequestInfo { inner, layer: self.clone() }
    }
}

impl<S> WithRequestInfo<S> {
    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the layer.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithRequestInfo<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let info = self.layer.read(&head);
        // What this replaces was read already, as part of the base; left alone, it would count again.
        if let Some(priority) = head.extensions.get_mut() {
            *priority = info.priority;
        }
        if let (Some(deadline), Some(at)) = (head.extensions.get_mut(), info.deadline) {
            *deadline = Deadline(at);
        }
        head.extensions.insert(info);
        self.inner.call(Request::from_parts(head, body))
    }
}

impl fmt::Debug for RequestInfoLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = &*self.rules;
        f.debug_struct("RequestInfoLayer")
            .field("reads_headers", &rules.reads_headers)
            .field("has_base", &rules.base.is_some())
            .field("trusts_some", &rules.trusts.is_some())
            .field("timeout", &rules.timeout)
            .finish_non_exhaustive()
    }
}
