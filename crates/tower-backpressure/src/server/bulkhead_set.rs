//! Bulkheads that share one total: each has permits of its own, and borrows what others do not use.

use std::fmt;
use std::sync::Arc;

use backpressure_core::limit::MAX;
use backpressure_core::{Adaptive, Limit, OutOfRange, QueueBounds};
use http::request::Parts;

use super::admission::AdmissionLayer;
use super::compartments::CompartmentsLayer;
use crate::admission::Policy;
use crate::limiter::set::{Part, Set};
use crate::limiter::workers;
use crate::observe::Kind;

/// Divides a total of permits into compartments. Each has a number of them for certain, and borrows what the others
/// do not use.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tower_backpressure::{BulkheadSet, Compartment};
///
/// let set = BulkheadSet::total(100)
///     .compartment("payments", 20)
///     .compartment("search", Compartment::guaranteed(30).max(80));
/// let app: Router = Router::new()
///     .route("/pay", post(|| async { "paid" }).layer(set.layer("payments")))
///     .route("/search", get(|| async { "found" }).layer(set.layer("search")));
/// ```
///
/// # What is promised
/// - All compartments together never have more requests in flight than the total.
/// - A request within the guarantee of its compartment is never rejected for want of a permit, unless borrowers hang:
///   what is lent to others comes back with the next permits that they release, before any of their own requests. Until
///   then it waits, for a second at most where its queue allows less.
/// - What no compartment is guaranteed, and what one does not use, is there for all that need it. Of a guarantee that
///   is idle a half can be borrowed; [`Compartment::lend`] changes that. The rest is there at once, even if a borrower
///   never gives anything back because its dependency hangs. A permit cannot be taken from a request that runs: a
///   time-out inside the compartment bounds how long a loan lasts. In a set that adapts, requests that hang count apart
///   after a while, and their loans come back.
/// - While a compartment waits for what is its own, no other borrows.
/// - Demand beyond its permits waits in the queue of its compartment, as it would before an [`AdmissionLayer`] of that
///   size: little above the capacity for up to the longest wait, until that is known as overload. The others do not
///   wait for it. [`Compartment::queue`] bounds the wait.
///
/// Each compartment is an [`AdmissionLayer`] with a limiter, a queue, metrics and a handle of its own, by its name. An
/// operator may lower its limit by the handle; a higher one than its permits has no effect.
///
/// A compartment whose permits suffice takes no lock, and writes no word that other compartments write. Borrowing
/// takes the lock of the set.
#[derive(Clone)]
pub struct BulkheadSet {
    set: Arc<Set>,
    layers: Vec<(Arc<str>, AdmissionLayer)>,
}

/// What a compartment of a [`BulkheadSet`] may use. A number is one with that guarantee.
///
/// | option | default | why |
/// |---|---|---|
/// | [`max`](Self::max) | the total | it may use whatever is idle |
/// | [`lend`](Self::lend) | 50 % | a borrower that hangs leaves the other half |
/// | [`queue`](Self::queue) | 16 384 requests, 1 s | as for [`AdmissionLayer`] |
#[derive(Clone, Copy, Debug)]
pub struct Compartment {
    guaranteed: usize,
    max: usize,
    lend: usize,
    queue: QueueBounds,
}

impl Compartment {
    /// A compartment that has this many permits for certain.
    #[must_use]
    pub fn guaranteed(permits: usize) -> Self {
        Self { guaranteed: permits, max: MAX, lend: 50, queue: QueueBounds::default() }
    }

    /// The most permits that it has, with those it borrows: what its dependency can bear.
    #[must_use]
    pub const fn max(mut self, permits: usize) -> Self {
        self.max = permits;
        self
    }

    /// How much of its guarantee others may borrow while it is idle, in per cent. With 0 its permits are always
    /// there at once.
    #[must_use]
    pub const fn lend(mut self, percent: usize) -> Self {
        self.lend = percent;
        self
    }

    #[cfg(feature = "policy")]
    pub(crate) const fn guaranteed_permits(&self) -> usize {
        self.guaranteed
    }

    /// The same in another size.
    #[cfg(feature = "policy")]
    pub(crate) fn scaled(self, scale: impl Fn(usize) -> usize) -> Self {
        Self { guaranteed: scale(self.guaranteed), max: scale(self.max), ..self }
    }

    /// Whether a set whose total is large enough can have it.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let Self { guaranteed, max, lend, .. } = *self;
        OutOfRange::check("guaranteed", guaranteed, 1, MAX)?;
        OutOfRange::check("max", max, guaranteed, MAX)?;
        OutOfRange::check("lend", lend, 0, 100)
    }

    /// Bounds its queue. With [`QueueBounds::NONE`] only requests within the guarantee wait, for what others have
    /// borrowed.
    #[must_use]
    pub const fn queue(mut self, bounds: QueueBounds) -> Self {
        self.queue = bounds;
        self
    }
}

impl From<usize> for Compartment {
    fn from(permits: usize) -> Self {
        Self::guaranteed(permits)
    }
}

impl BulkheadSet {
    /// A total of this many permits, without compartments yet.
    ///
    /// # Panics
    /// When `permits` is not in 1..=1 000 000.
    #[must_use]
    pub fn total(permits: usize) -> Self {
        assert!((1..=MAX).contains(&permits), "total must be in 1..={MAX}");
        Self { set: Set::new(permits), layers: Vec::new() }
    }

    /// A total that adapts to what the service can do, as the limit of [`AdmissionLayer::adaptive`] does. It learns from the
    /// requests of all compartments. What they are guaranteed together is the least that it comes down to.
    ///
    /// ```
    /// use tower_backpressure::BulkheadSet;
    ///
    /// let set = BulkheadSet::adaptive().compartment("payments", 4).compartment("search", 2);
    /// assert!(set.permits() >= 6);
    /// ```
    #[must_use]
    pub fn adaptive() -> Self {
        Self::with_limit(Adaptive::new(workers()))
    }

    /// A total that any algorithm sets, from the measurements of all compartments.
    #[must_use]
    pub fn with_limit(limit: impl Limit + 'static) -> Self {
        Self { set: Set::adaptive(Box::new(limit)), layers: Vec::new() }
    }

    /// Adds a compartment; `name` labels its metrics and events.
    ///
    /// # Panics
    /// When there is a compartment of this name, its guarantee is 0, the guarantees are more than a fixed total, its
    /// maximum is below its guarantee or above 1 000 000, or it lends more than 100 per cent.
    #[must_use]
    pub fn compartment(mut self, name: &str, compartment: impl Into<Compartment>) -> Self {
        let compartment = compartment.into();
        if let Err(error) = compartment.check() {
            panic!("{error}");
        }
        let Compartment { guaranteed, max, lend, queue } = compartment;
        assert!(self.get(name).is_none(), "there is a compartment {name} already");
        let limiter = self.set.add(Part { guaranteed, max, lends: lend, queue });
        let limiter = limiter.unwrap_or_else(|| {
            panic!("guarantees must be at least 1, and no more than the total together")
        });
        self.layers.push((name.into(), AdmissionLayer::of_kind(Kind::Compartment, name, limiter)));
        self
    }

    /// The layer of a compartment, for its routes. Its options are those of an [`AdmissionLayer`].
    ///
    /// ```
    /// use tower_backpressure::BulkheadSet;
    ///
    /// let set = BulkheadSet::total(100).compartment("payments", 20);
    /// let layer = set.layer("payments").dry_run(true);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When there is no compartment of this name.
    #[must_use]
    pub fn layer(&self, name: &str) -> AdmissionLayer {
        let layer = self.get(name).unwrap_or_else(|| panic!("there is no compartment {name}"));
        layer.clone()
    }

    /// One layer for all routes: `rule` names the compartment of a request. A request for which it names none that
    /// exists is in the compartment `other`.
    ///
    /// ```
    /// use http::request::Parts;
    /// use tower_backpressure::{BulkheadSet, Priority, RequestInfo};
    ///
    /// let set = BulkheadSet::total(100).compartment("interactive", 60).compartment("batch", 10);
    /// let layer = set.by("interactive", |head: &Parts| {
    ///     let is_batch = RequestInfo::of(&head.extensions).priority < Priority::Normal;
    ///     is_batch.then_some("batch")
    /// });
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    /// When there is no compartment `other`.
    #[must_use]
    pub fn by<'a>(
        &self,
        other: &str,
        rule: impl Fn(&Parts) -> Option<&'a str> + Send + Sync + 'static,
    ) -> CompartmentsLayer {
        let policy = |layer: &AdmissionLayer| Arc::clone(&layer.policy);
        let other = policy(&self.layer(other));
        let policies: Vec<(Arc<str>, Arc<Policy>)> =
            self.layers.iter().map(|(name, layer)| (Arc::clone(name), policy(layer))).collect();
        CompartmentsLayer::new(move |head| {
            let name = rule(head);
            let found = policies.iter().find(|(known, _)| name == Some(&**known));
            Arc::clone(found.map_or(&other, |(_, policy)| policy))
        })
    }

    /// Changes the total while requests run: to no less than all guarantees together, and 1 000 000 at most. What is
    /// in use beyond a lower one is in use until it is released. A total that adapts sets itself, and stays as it is.
    ///
    /// ```
    /// use tower_backpressure::BulkheadSet;
    ///
    /// let set = BulkheadSet::total(100).compartment("payments", 20);
    /// set.set_total(60);
    /// assert_eq!(set.permits(), 60);
    /// ```
    pub fn set_total(&self, permits: usize) {
        if !self.set.adapts() {
            self.set.set_total(permits, self.set.now());
        }
    }

    /// The total.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.set.total()
    }

    fn get(&self, name: &str) -> Option<&AdmissionLayer> {
        self.layers.iter().find(|(known, _)| **known == *name).map(|(_, layer)| layer)
    }
}

impl fmt::Debug for BulkheadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.layers.iter().map(|(name, _)| name).collect();
        f.debug_struct("BulkheadSet")
            .field("permits", &self.permits())
            .field("compartments", &names)
            .finish_non_exhaustive()
    }
}
