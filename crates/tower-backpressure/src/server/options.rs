//! Options of the admission layer: an operator's bounds and switches, and a user's rules.

use std::sync::Arc;

use backpressure_core::limit::MAX;
use backpressure_core::{OutOfRange, Outcome, Priority};
use bytes::Bytes;
use http::{Response, request, response};
use http_body::Body;

use super::admission::AdmissionLayer;
use crate::admission::drain::Drains;
use crate::admission::stream_rules::{StreamPolicy, StreamRules};
use crate::limiter::MAX_SHARE;
use crate::observe::Observer;

impl AdmissionLayer {
    /// Keeps the limit at or above this number, so that wrong measurements cannot take the service
    /// down. It still bounds the memory in use.
    ///
    /// ```
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api").min(4).max(2_000).initial(64);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When `min` is not in 1..=`max`.
    #[must_use]
    pub fn min(self, min: usize) -> Self {
        let (_, max) = self.policy.limiter.limit_bounds();
        check("min", min, 1, max);
        self.policy.limiter.bound_limit(min, max);
        self
    }

    /// Keeps the limit at or below this number: what memory or a dependency can bear.
    ///
    /// # Panics
    /// When `max` is not in `min`..=1 000 000.
    #[must_use]
    pub fn max(self, max: usize) -> Self {
        let (min, _) = self.policy.limiter.limit_bounds();
        check("max", max, min, MAX);
        self.policy.limiter.bound_limit(min, max);
        self
    }

    /// Reserves a share of the capacity for a priority, in per cent, so that it does not starve while higher ones
    /// need all of it. The others get the rest: a priority whose load fits there is served completely.
    ///
    /// ```
    /// use tower_backpressure::{AdmissionLayer, Priority};
    ///
    /// let layer = AdmissionLayer::adaptive("api").reserve_share(Priority::Deferrable, 5);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When `percent` is not in 0..=50.
    #[must_use]
    pub fn reserve_share(self, priority: Priority, percent: usize) -> Self {
        check("percent", percent, 0, MAX_SHARE);
        self.policy.limiter.reserve_share(priority, percent);
        self
    }

    /// Starts an adaptive limit from this number, for example one that an earlier run found. A limit
    /// without a state, such as [`Fixed`](crate::Fixed), ignores it.
    ///
    /// # Panics
    /// When `initial` is not in `min`..=`max`.
    #[must_use]
    pub fn initial(self, initial: usize) -> Self {
        let (min, max) = self.policy.limiter.limit_bounds();
        check("initial", initial, min, max);
        self.policy.limiter.start_limit_at(initial);
        self
    }

    /// Decides, counts and reports, but runs every request at once: none waits, none is rejected.
    ///
    /// The metrics count `result="would_reject"` with the reason, and the event that shedding starts
    /// has the field `dry_run`. A request that would wait runs at once while its place in the queue
    /// is kept, so that the queue fills and empties as it would. Requests that the limit would have
    /// rejected slow down those it admits, so the figures of a service far above its capacity are an
    /// upper bound. An adaptive limit yields before a request runs, as it does without a dry run.
    ///
    /// ```
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api").dry_run(true);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        let policy = self.edit();
        policy.switches.dry_run = dry_run;
        policy.telemetry.dry_run = dry_run;
        self
    }

    /// Renders the response to a rejected request: a page of your own, or one in the form that `Accept` asks
    /// for. `render` gets the head of the request and the response as this layer would send it, with the
    /// [`Shed`](crate::Shed) in its extensions, and may change status, body and headers.
    ///
    /// The headers that make a client come back at the right time stay as they are: `Retry-After`,
    /// [`SHED_REASON`](crate::SHED_REASON), [`RETURN_TICKET`](crate::RETURN_TICKET), `Cache-Control: no-store` and
    /// `Connection`. gRPC calls are rejected in gRPC's own form, and not rendered. It runs for each rejection, and
    /// has to be cheap.
    ///
    /// ```
    /// use http::{HeaderValue, header};
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("shop").on_reject(|_head, mut response| {
    ///     let html = HeaderValue::from_static("text/html; charset=utf-8");
    ///     response.headers_mut().insert(header::CONTENT_TYPE, html);
    ///     *response.body_mut() = "<h1>Very busy. Please try again in a moment.</h1>".into();
    ///     response
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn on_reject(
        mut self,
        render: impl Fn(&request::Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let policy = self.edit();
        policy.rejection = policy.rejection.with_render(render);
        self
    }

    /// Puts a [`Pressure`](crate::Pressure) into the extensions of each request that is admitted, so that a
    /// handler can degrade before any request is rejected. It costs an allocation or two a request;
    /// [`Handle::pressure`](super::Handle::pressure) costs none.
    ///
    /// ```
    /// use axum::{Extension, Router, routing::get};
    /// use tower_backpressure::{AdmissionLayer, Pressure};
    ///
    /// async fn page(Extension(pressure): Extension<Pressure>) -> &'static str {
    ///     if pressure.is_queueing() { "the page" } else { "the page and recommendations" }
    /// }
    ///
    /// let app: Router = Router::new()
    ///     .route("/", get(page))
    ///     .layer(AdmissionLayer::adaptive("api").expose_pressure(true));
    /// ```
    #[must_use]
    pub fn expose_pressure(mut self, expose: bool) -> Self {
        self.edit().switches.exposes_pressure = expose;
        self
    }

    /// Puts a [`PermitHandle`](crate::PermitHandle) into the extensions of each request, with which a handler
    /// releases its permit early, or holds it into a spawned or blocking task or an upgraded connection. It
    /// costs two allocations or three a request.
    #[must_use]
    pub fn expose_permit(mut self, expose: bool) -> Self {
        self.edit().switches.exposes_permit = expose;
        self
    }

    /// Tells an [`Observer`] of each decision: for telemetry that the features `metrics` and `tracing` do not
    /// reach.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.edit().telemetry.observer = Some(Arc::new(observer));
        self
    }

    /// What limits responses that are streams: [`StreamPolicy::Work`] by default.
    ///
    /// ```
    /// use tower_backpressure::{AdmissionLayer, StreamPolicy};
    ///
    /// // Event streams do not compete with requests for permits. There are ten thousand at most.
    /// let layer = AdmissionLayer::fixed("api", 64).streams(StreamPolicy::Watch(10_000));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn streams(mut self, policy: StreamPolicy) -> Self {
        self.edit_streams().policy = policy;
        self
    }

    /// Requests the successful responses to which are streams too, besides those that [`StreamPolicy`] names.
    ///
    /// ```
    /// use tower_backpressure::{AdmissionLayer, StreamPolicy};
    ///
    /// let layer = AdmissionLayer::adaptive("api")
    ///     .streams(StreamPolicy::Watch(1_000))
    ///     .stream_if(|head| head.uri.path() == "/grpc.health.v1.Health/Watch");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn stream_if(
        mut self,
        rule: impl Fn(&request::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.edit_streams().is_stream = Some(Arc::new(rule));
        self
    }

    fn edit_streams(&mut self) -> &mut StreamRules {
        Arc::make_mut(self.edit().switches.streams.get_or_insert_default())
    }

    /// Up to `max` rejected requests run at once, with a [`Shed`](crate::Shed) in their extensions.
    pub(super) fn passing_on_rejected(mut self, max: usize) -> Self {
        self.edit().switches.max_passed_on = max;
        self
    }

    /// Names the type of the request's body, so that bodies of rejected requests can be read; see
    /// [uploads that are rejected](AdmissionLayer#uploads-that-are-rejected). Needed over a server
    /// whose requests and responses have bodies of different types:
    ///
    /// ```
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api").request_body::<axum::body::Body>();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn request_body<B: Body + Send + 'static>(mut self) -> Self {
        let policy = self.edit();
        policy.drains = policy.drains.as_ref().map(Drains::with_type::<B>);
        self
    }

    /// Requests that are never limited and never wait: health checks, metrics, a preflight.
    ///
    /// They hold no permit and teach the limit nothing, however long they last. They are counted: in
    /// flight, and with `result="exempt"`. The predicate is called for each request, first of all, and
    /// should be cheap.
    ///
    /// ```
    /// use http::Method;
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api")
    ///     .exempt(|head| head.method == Method::OPTIONS || head.uri.path() == "/healthz");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn exempt(
        mut self,
        predicate: impl Fn(&request::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        let policy = self.edit();
        policy.switches = std::mem::take(&mut policy.switches).exempting(predicate);
        self
    }

    /// Says what a response teaches the limit, where the defaults would be wrong; `None` leaves a
    /// response to them.
    ///
    /// | response | default |
    /// |---|---|
    /// | an [`Outcome`] in its extensions | that outcome, before any rule |
    /// | a rejection by an inner layer of this crate | [`Outcome::Ignore`] |
    /// | 408, 429, 499, any 5xx; an error | [`Outcome::Failure`] |
    /// | gRPC status 0, 3, 5, 6, 7, 9, 11, 12, 16 | [`Outcome::Success`] |
    /// | any other gRPC status | [`Outcome::Failure`] |
    /// | anything else | [`Outcome::Success`] |
    ///
    /// A 503 of a handler is no [`Outcome::Overload`] by default: it may come from one dead replica
    /// of a dependency, and a lower limit would not mend that. Where a status does mean that the
    /// service itself has too much to do, say so:
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_backpressure::{AdmissionLayer, Outcome};
    ///
    /// let layer = AdmissionLayer::adaptive("api").classify(|head| {
    ///     let overloaded = head.status == StatusCode::INSUFFICIENT_STORAGE;
    ///     overloaded.then_some(Outcome::Overload)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn classify(
        mut self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        let response = &mut self.edit().response;
        response.classifier = response.classifier.with_rule(rule);
        self
    }
}

/// # Panics
/// When `number` is not in `min..=max`.
fn check(option: &'static str, number: usize, min: usize, max: usize) {
    if let Err(error) = OutOfRange::check(option, number, min, max) {
        panic!("{error}");
    }
}
