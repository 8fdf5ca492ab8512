//! An operator's bounds and switches, and a user's rules.

use std::sync::Arc;

use backpressure_gate::{OutOfRange, Outcome};
use http::{request, response};
use http_body::Body;

use super::AdmissionLayer;
use crate::drain::Drains;

impl AdmissionLayer {
    /// Lets the limit fall no lower than this. For the day on which the measurements mislead it: at
    /// `min` it still bounds the memory in use, and a wrong limit cannot take the service down.
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
        let (_, max) = self.shared.gate.limit_bounds();
        check("min", min, 1, max);
        self.shared.gate.bound_limit(min, max);
        self
    }

    /// Lets the limit rise no higher than this: what memory or a dependency can bear.
    ///
    /// # Panics
    /// When `max` is not in `min`..=1 000 000.
    #[must_use]
    pub fn max(self, max: usize) -> Self {
        let (min, _) = self.shared.gate.limit_bounds();
        check("max", max, min, MOST);
        self.shared.gate.bound_limit(min, max);
        self
    }

    /// Starts an adaptive limit from this number instead of its own first guess: one that an earlier
    /// run found, say. A limit without a state, such as [`Fixed`](crate::Fixed), does not heed it.
    ///
    /// # Panics
    /// When `initial` is not in `min`..=`max`.
    #[must_use]
    pub fn initial(self, initial: usize) -> Self {
        let (min, max) = self.shared.gate.limit_bounds();
        check("initial", initial, min, max);
        self.shared.gate.start_limit_at(initial);
        self
    }

    /// Decides, counts and reports, and lets every request through at once: nothing waits, nothing
    /// is refused.
    ///
    /// The metrics count `result="would_reject"` with the reason, and the event that shedding starts
    /// has the field `dry_run`. A request that would wait runs at once while its place in the queue
    /// waits on, so that the queue fills and empties as it would. What the limit would have kept out
    /// is in the way of what it lets in, so the figures of a service far above its capacity are an
    /// upper bound. An adaptive limit yields before a request runs, as without.
    ///
    /// ```
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api").dry_run(true);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.switches.dry_run = dry_run;
        shared.observer.dry_run = dry_run;
        self
    }

    /// Names the type of a request's body, so that what a refused request still sends can be read; see
    /// [uploads that are refused](AdmissionLayer#uploads-that-are-refused). Needed over a server
    /// whose requests and responses have bodies of different types:
    ///
    /// ```
    /// use tower_backpressure::AdmissionLayer;
    ///
    /// let layer = AdmissionLayer::adaptive("api").reads_refused::<axum::body::Body>();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn reads_refused<B: Body + Send + 'static>(mut self) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.drains = shared.drains.as_ref().map(Drains::naming::<B>);
        self
    }

    /// Requests that are never limited and never wait: health checks, metrics, a preflight.
    ///
    /// They take no place of the limit's and teach it nothing, however long they last. They are
    /// counted: in flight, and with `result="exempt"`. The predicate sees each request before
    /// anything else does, and should be cheap.
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
        let shared = Arc::make_mut(&mut self.shared);
        shared.switches = std::mem::take(&mut shared.switches).exempting(predicate);
        self
    }

    /// Says what a response teaches the limit, where the defaults would be wrong; `None` leaves a
    /// response to them.
    ///
    /// | response | default |
    /// |---|---|
    /// | an [`Outcome`] in its extensions | that outcome, before any rule |
    /// | a refusal by a layer of this crate further in | [`Outcome::Ignore`] |
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
        let ending = &mut Arc::make_mut(&mut self.shared).ending;
        ending.classifier = ending.classifier.with_rule(rule);
        self
    }
}

/// The highest limit there is.
const MOST: usize = 1_000_000;

/// # Panics
/// When `number` is not in `min..=max`.
fn check(option: &'static str, number: usize, min: usize, max: usize) {
    if let Err(error) = OutOfRange::check(option, number, min, max) {
        panic!("{error}");
    }
}
