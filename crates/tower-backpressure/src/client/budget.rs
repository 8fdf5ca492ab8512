//! The retry budget: bounds retries to a share of the requests.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::Charge;
use backpressure_core::RetryBudget as Rule;

use self::balance::Balance;
use self::origins::OriginBalances;
use crate::client::replay::RequestHead;
use crate::client::valid::{self, require};

mod balance;
mod origins;

/// Bounds retries to a share of the requests of all callers that use it.
///
/// A maximum of attempts bounds one request only. When every request fails, three attempts each triple
/// the load of a service that is down because of load. The budget bounds the sum: each first attempt
/// deposits `ratio` of a token, and each retry withdraws one token. When no token is left, the caller
/// gets the response at hand.
///
/// A client that sends few requests earns little that way. A balance of less than one token becomes one
/// token by time (`refill`), so that a quiet client always has a retry. A client that sends many saves what it has earned in
/// about two seconds: a thousand requests a second save 200 retries, for a tenth of a second in which all of them fail. For
/// any number of callers, over any span `t`:
///
/// > retries ≤ saved + `ratio` × first attempts + `t` / `refill`
///
/// where saved is `reserve`, or the earnings of the two seconds before if they are more.
///
/// A retry is charged before its wait, and refunded if it is cancelled. The first retry of a request that brings
/// back a [ticket](crate::RETURN_TICKET) is not charged: the server has scheduled it, so such retries arrive no
/// faster than the server can serve them. A server that rejects it again did not keep its schedule, and the next
/// retry is charged as any other.
///
/// Nor is a request charged of which no attempt was sent, as a [`CooldownLayer`](crate::CooldownLayer) or an
/// [`OriginLimitLayer`](crate::OriginLimitLayer) inside rejected it, for no more than five seconds in all. It is charged
/// once the origin has not kept its word: asked again after the time that it named, it named another one. At most
/// 16 384 such requests wait in a layer. So it is with one whose connections were refused, as long as the origin has refused
/// all for no more than three seconds: a server that restarts gets each request once. A breaker and a throttle reject requests so that these fail at once: waiting
/// for them is charged.
///
/// Clones share one balance. A budget belongs to one process: `n` processes add the same share of load,
/// and their reserves add up to `n` × `reserve`.
///
/// # Several origins
///
/// A budget that you make has one balance for all origins, so that one failing origin spends the retries of the others.
/// [`per_origin`](Self::per_origin) gives each origin a balance of its own; the budget that a
/// [`RetryLayer`](crate::RetryLayer) has by default is such a one. A layer that calls more than one origin wants
/// `.budget(RetryBudget::new(0.2).per_origin())`; one balance is for origins that are replicas or parts of one service.
///
/// | option | default | why |
/// |---|---|---|
/// | `ratio` | 0.1 | an overloaded service can bear a tenth more load (Google's SRE book, chapter 21) |
/// | [`reserve`](Self::reserve) | 10 retries | covers a few failures at the start or at low traffic; small, since all processes of a fleet may spend theirs at once |
/// | [`refill`](Self::refill) | 5 s; never with a ratio of 0 | a client with a request every five seconds always has a retry; a thousand empty clients add 200 retries a second |
/// | [`per_origin`](Self::per_origin) | off; on in a `RetryLayer` without a budget of yours | a budget may also be used without a layer |
///
/// [`grpc`](Self::grpc) and [`aws`](Self::aws) have the rules of those clients instead, for the same
/// behaviour in a mixed fleet.
///
/// ```
/// use tower_backpressure::RetryBudget;
///
/// let budget = RetryBudget::new(0.5).reserve(0);
/// budget.deposit();
/// assert!(budget.withdraw().is_none());
/// budget.deposit();
/// let withdrawal = budget.withdraw().expect("two halves make one retry");
/// withdrawal.spend();
/// assert!(budget.withdraw().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    balance: Arc<Balance>,
    origins: Option<Arc<OriginBalances>>,
}

/// A view of a [`RetryBudget`] at one moment.
///
/// ```
/// use tower_backpressure::RetryBudget;
///
/// let budget = RetryBudget::default();
/// budget.withdraw().expect("the reserve is full").spend();
/// let snapshot = budget.snapshot();
/// assert_eq!((snapshot.balance, snapshot.largest_balance), (9.0, 10.0));
/// assert_eq!((snapshot.granted, snapshot.denied), (1, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// Tokens, fractions included. A token is a retry, except with the rules of gRPC and AWS.
    pub balance: f64,
    /// The most that the balance can be at present, in tokens: the reserve, or what was earned in the last two seconds.
    pub largest_balance: f64,
    /// Retries that were withdrawn and not refunded.
    pub granted: u64,
    /// Withdrawals that the balance did not allow.
    pub denied: u64,
}

impl RetryBudget {
    /// A budget of `ratio` retries for each first attempt, exactly: 0.1 is one retry in ten requests.
    ///
    /// # Panics
    /// When `ratio` is not in 0.0..=1.0.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        require(valid::ratio(ratio), ratio);
        Self::of(Rule::ratio(ratio))
    }

    /// gRPC's retry throttling (proposal A6), with the names of its service config.
    ///
    /// A failure that could be retried costs one token, and a success earns `token_ratio`, of which three
    /// decimals count. Retries are free, and sent while more than half of `max_tokens` is left. The other
    /// options have no effect.
    ///
    /// # Panics
    /// When `max_tokens` is not in 1..=1000, or `token_ratio` not in 0.001..=1000.0.
    #[must_use]
    pub fn grpc(max_tokens: u32, token_ratio: f64) -> Self {
        Self::of(Rule::grpc(max_tokens, token_ratio))
    }

    /// The token bucket of the AWS SDKs' standard retry mode: 500 tokens, of which a retry costs 5, and 10
    /// after an attempt that timed out. A success returns what its last retry cost, or else earns 1. The
    /// other options have no effect.
    #[must_use]
    pub fn aws() -> Self {
        Self::of(Rule::aws())
    }

    /// The number of retries at the start, and the least that the largest balance is, which is at
    /// least two, as fractions would be lost otherwise. The result is a new budget: set the reserve before
    /// cloning.
    ///
    /// # Panics
    /// When `reserve` is not in 0..=1 000 000.
    #[must_use]
    pub fn reserve(self, reserve: u32) -> Self {
        require(valid::reserve(reserve), reserve);
        self.with(|rule| rule.reserve(reserve))
    }

    /// The time after which a balance of less than one retry is one retry, with [`Duration::ZERO`] for
    /// never. The result is a new budget.
    #[must_use]
    pub fn refill(self, time: Duration) -> Self {
        self.with(|rule| rule.refill(time))
    }

    /// Gives each origin (scheme, host and port) that a [`RetryLayer`](crate::RetryLayer) sends to a balance
    /// of its own. [`of_origin`](Self::of_origin) returns it. The result is a new budget.
    ///
    /// There are 1024 balances. Origins beyond that share one with another origin, so that a client whose
    /// origins are chosen by others needs no more memory than that.
    #[must_use]
    pub fn per_origin(self) -> Self {
        let origins = Some(Arc::new(OriginBalances::new(self.balance.new_rule())));
        Self { origins, ..self }
    }

    /// The budget of one origin; the same budget unless [`per_origin`](Self::per_origin) was set.
    ///
    /// ```
    /// use http::Uri;
    /// use tower_backpressure::RetryBudget;
    ///
    /// let budget = RetryBudget::default().per_origin();
    /// let [a, b] = ["https://a.example", "https://b.example"].map(Uri::from_static);
    /// budget.of_origin(&a).withdraw().expect("the reserve is full").spend();
    /// assert_eq!(budget.of_origin(&a).balance(), 9.0);
    /// assert_eq!(budget.of_origin(&b).balance(), 10.0);
    /// ```
    #[must_use]
    pub fn of_origin(&self, origin: &http::Uri) -> Self {
        let authority = origin.authority().map(http::uri::Authority::as_str);
        let scheme = origin.scheme_str().unwrap_or_default();
        self.named(scheme, authority.unwrap_or_default()).unwrap_or_else(|| self.clone())
    }

    /// Counts a first attempt. Call it when the attempt is sent.
    pub fn deposit(&self) {
        self.balance.first_attempt();
    }

    /// Counts a request that succeeded; `last` is what its last retry cost, if it took one. The rules of
    /// gRPC and AWS earn by successes; a ratio does not, and needs no call.
    pub fn record_success(&self, last: Option<Spent>) {
        self.balance.success(last.map(|Spent(charge)| charge));
    }

    /// Counts an attempt that failed in a way that a retry may repair, before the retry is withdrawn. The
    /// rule of gRPC charges failures; the others need no call.
    pub fn record_failure(&self) {
        self.balance.failure();
    }

    /// Withdraws one retry; `None` when the balance is too small.
    ///
    /// Withdraw before the wait, not after it. Otherwise many requests wait for the last token, and all but
    /// one of them in vain.
    #[must_use]
    pub fn withdraw(&self) -> Option<Withdrawal> {
        self.withdraw_after(false)
    }

    /// As [`withdraw`](Self::withdraw); the rule of AWS charges more after an attempt that timed out.
    #[must_use]
    pub fn withdraw_after(&self, timed_out: bool) -> Option<Withdrawal> {
        let charge = self.balance.withdraw(timed_out)?;
        Some(Withdrawal { unspent: Some((Arc::clone(&self.balance), charge)) })
    }

    /// The number of tokens now, fractions included. With a ratio, a token is a retry.
    #[must_use]
    pub fn balance(&self) -> f64 {
        self.snapshot().balance
    }

    /// The balance, and how many retries were granted and denied. With [`per_origin`](Self::per_origin) it is the
    /// lowest balance of all origins, and the counts of all of them.
    #[must_use]
    pub fn snapshot(&self) -> BudgetSnapshot {
        let of_origins = self.origins.as_ref().and_then(|origins| origins.snapshot());
        of_origins.unwrap_or_else(|| self.balance.snapshot())
    }

    /// The budget of the origin of a request; `None` where all origins share this one.
    pub(crate) fn of_request(&self, request: &impl RequestHead) -> Option<Self> {
        self.origins.as_ref()?;
        let (scheme, authority) = request.origin();
        self.named(scheme, authority)
    }

    /// The origin has refused a connection. Returns for how long it has refused all.
    pub(crate) fn connection_refused(&self) -> Duration {
        self.balance.connection_refused()
    }

    /// The origin has taken a connection.
    pub(crate) fn connected(&self) {
        self.balance.connected();
    }

    /// Whether it has to be told of successes and failures.
    pub(crate) fn counts_results(&self) -> bool {
        self.balance.counts_results()
    }

    /// The budget of the origin with this scheme and authority; `None` where all origins share this one.
    fn named(&self, scheme: &str, authority: &str) -> Option<Self> {
        let origins = self.origins.as_ref()?;
        Some(Self { balance: origins.of(scheme, authority), origins: None })
    }

    fn with(self, change: impl FnOnce(Rule) -> Rule) -> Self {
        let changed = Self::of(change(self.balance.new_rule()));
        if self.origins.is_some() { changed.per_origin() } else { changed }
    }

    fn of(rule: Rule) -> Self {
        Self { balance: Arc::new(Balance::new(rule)), origins: None }
    }
}

impl Default for RetryBudget {
    /// One retry in ten requests, a reserve of ten, and a retry in five seconds for a quiet client.
    fn default() -> Self {
        Self::of(Rule::default())
    }
}

/// One retry, charged to a [`RetryBudget`]. Dropping it without [`spend`](Self::spend) refunds the charge.
///
/// ```
/// use tower_backpressure::RetryBudget;
///
/// let budget = RetryBudget::default();
/// drop(budget.withdraw());
/// assert_eq!(budget.balance(), 10.0);
/// budget.withdraw().expect("the reserve is full").spend();
/// assert_eq!(budget.balance(), 9.0);
/// ```
#[derive(Debug)]
#[must_use = "dropping a withdrawal refunds it"]
pub struct Withdrawal {
    unspent: Option<(Arc<Balance>, Charge)>,
}

/// What a retry cost that was sent, for [`RetryBudget::record_success`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent(Charge);

impl Withdrawal {
    /// Keeps the charge. Call it when the retry is sent.
    pub fn spend(mut self) -> Spent {
        let (_, charge) = self.unspent.take().expect("it is taken here and by drop only");
        Spent(charge)
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some((balance, charge)) = self.unspent.take() {
            balance.refund(charge);
        }
    }
}

#[cfg(test)]
mod tests;
