//! The tokens of one request, until it is known what it has cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::books::Books;
use super::subject::Subject;

/// The tokens that a request has reserved, in its extensions with
/// [`QuotaLayer::expose_reservation`](super::QuotaLayer::expose_reservation): a handler says what the request
/// has cost in the end, as with the tokens of a language model.
///
/// ```
/// use axum::{Extension, Router, routing::post};
/// use tower_backpressure::Quota;
/// use tower_backpressure::server::{ByTenant, QuotaLayer, Reservation};
///
/// async fn complete(Extension(reservation): Extension<Reservation>) -> &'static str {
///     // The model says how many tokens it has used.
///     reservation.settle(1_234);
///     "a completion"
/// }
///
/// let quota = QuotaLayer::per("tokens", ByTenant, Quota::per_minute(100_000))
///     .cost(|_head| 2_000) // an estimate
///     .expose_reservation(true);
/// let app: Router = Router::new().route("/complete", post(complete)).layer(quota);
/// ```
///
/// A request that is never settled has cost what it has reserved.
#[derive(Clone, Debug)]
pub struct Reservation(Arc<Reserved>);

/// The tokens that a request has taken by now.
#[derive(Debug)]
pub(super) struct Reserved {
    books: Arc<Books>,
    subject: Subject,
    tokens: AtomicU64,
}

impl Reservation {
    /// The tokens that are taken now.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.0.tokens.load(Ordering::Relaxed)
    }

    /// The request has cost this many tokens by now: what was reserved beyond is given back, what is missing is
    /// taken, in debt if need be ([`Quota::max_debt`](crate::Quota::max_debt)). It may be called again, as by a
    /// stream that goes on.
    pub fn settle(&self, tokens: u64) {
        self.0.settle(tokens);
    }

    pub(super) fn new(reserved: Arc<Reserved>) -> Self {
        Self(reserved)
    }
}

impl Reserved {
    pub(super) fn new(books: Arc<Books>, subject: Subject) -> Self {
        Self { books, subject, tokens: AtomicU64::new(subject.cost) }
    }

    pub(super) fn settle(&self, tokens: u64) {
        let before = self.tokens.swap(tokens, Ordering::AcqRel);
        if before != tokens {
            self.books.settle(&self.subject, before, tokens);
        }
    }
}
