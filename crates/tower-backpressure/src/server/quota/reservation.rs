//! The tokens of one request, until it is known what it has cost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backpressure_core::TakenTokens;

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
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// What the request has cost, as far as is known.
    tokens: u64,
    taken: TakenTokens,
}

impl Reservation {
    /// What the request has cost by now, as it was last told: at first what was reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.0.tokens()
    }

    /// The request has cost this many tokens by now: what was reserved beyond is given back, what is missing is
    /// taken, in debt if need be ([`Quota::max_debt`](crate::Quota::max_debt)). It may be called again, as by a
    /// stream that goes on, and to correct what was told before. What was forgiven beyond the debt is then not given
    /// back. In a shared quota, what the store has forgiven other requests of the same replica may be counted with it:
    /// a tenant never pays more than its requests have cost.
    pub fn settle(&self, tokens: u64) {
        self.0.settle(tokens);
    }

    pub(super) fn new(reserved: Arc<Reserved>) -> Self {
        Self(reserved)
    }
}

impl Reserved {
    pub(super) fn new(books: Arc<Books>, subject: Subject) -> Self {
        let (tokens, taken) = (subject.cost, TakenTokens::of(subject.cost));
        Self { books, subject, state: Mutex::new(State { tokens, taken }) }
    }

    pub(super) fn tokens(&self) -> u64 {
        self.lock().tokens
    }

    pub(super) fn settle(&self, tokens: u64) {
        // The lock is held until the books know, or two tasks that settle at once could be told in another order.
        let mut state = self.lock();
        if state.tokens != tokens {
            state.tokens = tokens;
            self.books.settle(&self.subject, &mut state.taken, tokens);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
