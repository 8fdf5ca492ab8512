//! The store of a quota that replicas share.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use backpressure_core::{Claim, Grant, Quota};

use super::key::QuotaKey;

/// Where replicas keep a quota that they share. `backpressure-redis` has one on Redis and Valkey.
///
/// No request waits for a store. Replicas hold leases, and exchange claims with the store in the background: how many
/// tokens each has taken of a key, in all ([`Claim`]). For each exchange a store does this, in one step:
///
/// 1. Looks up what it has debited for this replica and [`book`](Exchange::book) by now, `last`. If it knows none, as
///    after a restart, `last` is [`base`](Claim::base). An exchange whose [`sequence`](Exchange::sequence) is not above
///    the last one of the book was heard before: the answer is `last`, and nothing else is done. So is one of an
///    older book.
/// 2. Debits `spent − last` in any case, if that is above 0.
/// 3. Debits up to `wanted − max(last, spent)` more, as far as there are tokens in all windows of the quota; or gives back
///    `last − max(wanted, spent)`.
/// 4. Where a window holds too little for step 2, debits it as far as the burst and its
///    [`max_debt`](backpressure_core::QuotaWindow::max_debt) go, and keeps in the record of the replica how much the window has forgiven, up to
///    [`excess`](Claim::excess). If `excess` has fallen since the last exchange, a settlement was corrected: as much of
///    what the window had forgiven, up to the fall, is debited beside step 2 or taken off what step 3 gives back.
/// 5. Answers with what is now debited for the replica, and with the time until there are
///    [`least`](Claim::least) tokens where it got less than it wanted.
///
/// Every step can be repeated, since claims are sums and not differences: a lost answer costs nothing, and no claim is
/// counted twice.
///
/// # A second engine
/// Envoy's rate limit service (`envoy.service.ratelimit.v3`) counts hits: `hits_addend` is what steps 2 and 3 debit,
/// one entry of `RateLimitDescriptor` the key. `OVER_LIMIT` is answered with nothing granted and
/// `duration_until_reset` as the time. It cannot tell a repeated request from a new one, so such a store keeps `last` itself,
/// and never sends a request again.
///
/// # Errors
/// An exchange that fails, or does not answer in time, counts against the store: see
/// [`SharedQuota`](super::SharedQuota).
///
/// # Cancellation
/// The future is dropped when the time is over. Whether the store has heard of the exchange does not matter.
pub trait QuotaStore: fmt::Debug + Send + Sync + 'static {
    /// Tells the store what a replica has taken of a key, and asks for more.
    fn exchange(&self, exchange: Exchange) -> ExchangeFuture<'_>;
}

/// The answer of a [`QuotaStore`]. It is boxed, as it is never on the path of a request.
pub type ExchangeFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Grant, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// A claim, and whose it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// The name of the quota's layer. Replicas that share a quota give it the same.
    pub policy: Arc<str>,
    /// The key of the tenant.
    pub key: QuotaKey,
    /// What the key may use.
    pub quota: Quota,
    /// Which replica asks: a number that it has drawn when it began.
    pub replica: u64,
    /// Since when the replica counts this key. A replica that has forgotten a key counts it anew, in a book with a higher
    /// number.
    pub book: u64,
    /// The number of this exchange, which grows.
    pub sequence: u64,
    /// What the replica has taken, and wants.
    pub claim: Claim,
}

impl Exchange {
    /// The first exchange of the first book of a replica; for the tests of a store.
    #[must_use]
    pub fn new(policy: &str, key: QuotaKey, quota: Quota, replica: u64, claim: Claim) -> Self {
        Self { policy: policy.into(), key, quota, replica, book: 1, sequence: 1, claim }
    }
}
