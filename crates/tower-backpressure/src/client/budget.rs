//! The retry budget: bounds retries to a share of the requests.

use std::sync::Arc;

use self::bucket::Bucket;

mod bucket;

/// Bounds retries to a share of the requests of all callers that use it.
///
/// A maximum of attempts bounds one request only. When every request fails, three attempts each triple
/// the load of a service that is down because of load. The budget bounds the sum: each first attempt
/// deposits `ratio` of a token, and each retry withdraws one token. When no token is left, the caller
/// gets the response at hand.
///
/// For any number of callers, over any sequence of attempts since the budget was made:
///
/// > retries ≤ `reserve` + `ratio` × first attempts
///
/// A retry that brings back a [ticket](crate::RETURN_TICKET) is not charged. The server has scheduled it,
/// so such retries arrive no faster than the server can serve them.
///
/// Clones share one balance. A budget belongs to one process: `n` processes add the same share of load,
/// and their reserves add up to `n` × `reserve`. Give each origin a budget of its own; otherwise one
/// failing origin spends the retries of the others.
///
/// | option | default | why |
/// |---|---|---|
/// | `ratio` | 0.1 | an overloaded service can bear a tenth more load (Google's SRE book, chapter 21) |
/// | `reserve` | 10 retries | covers a few failures at the start or at low traffic; small, since all processes of a fleet may spend theirs at once |
///
/// No clock is involved. A client that sends nothing earns nothing, and an idle client keeps its reserve
/// and no more.
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
    ratio: f64,
    bucket: Arc<Bucket>,
}

impl RetryBudget {
    /// A budget of `ratio` retries for each first attempt, exactly: 0.1 is one retry in ten requests.
    ///
    /// # Panics
    /// When `ratio` is not in 0.0..=1.0.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        assert!((0.0..=1.0).contains(&ratio), "ratio must be in 0.0..=1.0, was {ratio}");
        Self::with(ratio, DEFAULT_RESERVE)
    }

    /// The number of retries at the start, which is also the largest balance. The largest balance is at
    /// least two, as fractions would be lost otherwise. The result is a new budget: set the reserve before
    /// cloning.
    ///
    /// # Panics
    /// When `reserve` is not in 0..=1 000 000.
    #[must_use]
    pub fn reserve(self, reserve: u32) -> Self {
        assert!(reserve <= MAX_RESERVE, "reserve must be in 0..=1000000, was {reserve}");
        Self::with(self.ratio, reserve)
    }

    /// Counts a first attempt. Call it when the attempt is sent.
    pub fn deposit(&self) {
        self.bucket.deposit();
    }

    /// Withdraws one retry; `None` when the balance is less than one.
    ///
    /// Withdraw before the wait, not after it. Otherwise many requests wait for the last token, and all but
    /// one of them in vain.
    #[must_use]
    pub fn withdraw(&self) -> Option<Withdrawal> {
        self.bucket.withdraw().then(|| Withdrawal { unspent: Some(Arc::clone(&self.bucket)) })
    }

    /// The number of retries that could be withdrawn now, fractions included.
    #[must_use]
    pub fn balance(&self) -> f64 {
        self.bucket.balance()
    }

    fn with(ratio: f64, reserve: u32) -> Self {
        Self { ratio, bucket: Arc::new(Bucket::new(ratio, reserve)) }
    }
}

impl Default for RetryBudget {
    /// One retry in ten requests, and a reserve of ten.
    fn default() -> Self {
        Self::with(DEFAULT_RATIO, DEFAULT_RESERVE)
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
    unspent: Option<Arc<Bucket>>,
}

impl Withdrawal {
    /// Keeps the charge. Call it when the retry is sent.
    pub fn spend(mut self) {
        self.unspent = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(bucket) = self.unspent.take() {
            bucket.refund();
        }
    }
}

/// Retries for each first attempt. A tenth more load is bearable under overload: Google's SRE book,
/// chapter 21.
const DEFAULT_RATIO: f64 = 0.1;

/// Retries at the start. Fewer would fail the first requests after a start; more would be added at once
/// by every process of a fleet.
const DEFAULT_RESERVE: u32 = 10;

/// Retries; more than one process can use, and far below the overflow of the bucket's counter.
const MAX_RESERVE: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn spend_all(budget: &RetryBudget) -> u64 {
        let mut spent = 0;
        while let Some(withdrawal) = budget.withdraw() {
            withdrawal.spend();
            spent += 1;
        }
        spent
    }

    #[test]
    fn every_ratio_is_exact() {
        for percent in 0..=100_u32 {
            let budget = RetryBudget::new(f64::from(percent) / 100.0).reserve(0);
            let mut spent = 0;
            for _ in 0..10_000 {
                budget.deposit();
                spent += spend_all(&budget);
            }
            assert_eq!(spent, u64::from(percent) * 100, "{percent} %");
        }
    }

    #[test]
    fn a_reserve_is_spent_once_and_the_balance_never_exceeds_it() {
        let budget = RetryBudget::new(1.0).reserve(5);
        assert_eq!(spend_all(&budget), 5);
        for _ in 0..1_000 {
            budget.deposit();
        }
        assert_eq!(spend_all(&budget), 5);
    }

    #[test]
    fn a_refund_never_raises_the_balance_above_the_reserve() {
        let budget = RetryBudget::new(1.0).reserve(5);
        let withdrawal = budget.withdraw();
        budget.deposit();
        drop(withdrawal);
        assert_eq!(budget.balance(), 5.0);
    }

    #[test]
    fn concurrent_withdrawals_never_overspend() {
        let budget = RetryBudget::new(0.25).reserve(100);
        let spent: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10_000)
                            .map(|turn| {
                                budget.deposit();
                                if turn % 3 == 0 {
                                    drop(budget.withdraw());
                                }
                                u64::from(budget.withdraw().map(Withdrawal::spend).is_some())
                            })
                            .sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|each| each.join().unwrap()).sum()
        });
        assert!(spent <= 100 + 20_000, "{spent}");
        assert!(spent > 19_000, "{spent}: the budget must also be usable");
    }

    #[test]
    #[should_panic(expected = "ratio must be in 0.0..=1.0")]
    fn a_ratio_that_is_not_a_number_panics() {
        let _ = RetryBudget::new(f64::NAN);
    }

    proptest! {
        #[test]
        fn retries_stay_within_reserve_and_ratio(
            ratio in 0.0..=1.0_f64,
            reserve in 0_u32..20,
            steps in prop::collection::vec(0_u8..4, 0..400),
        ) {
            let budget = RetryBudget::new(ratio).reserve(reserve);
            let (mut requests, mut retries) = (0.0, 0.0);
            let mut waiting = Vec::new();
            for step in steps {
                match step {
                    0 => { budget.deposit(); requests += 1.0; }
                    1 => waiting.extend(budget.withdraw()),
                    2 => drop(waiting.pop()),
                    _ => if let Some(withdrawal) = waiting.pop() {
                        withdrawal.spend();
                        retries += 1.0;
                    }
                }
                // A deposit is rounded to a billionth.
                let allowed = f64::from(reserve) + (ratio + 1e-9) * requests;
                prop_assert!(retries + waiting.len() as f64 <= allowed + 1e-9);
                prop_assert!(budget.balance() <= f64::from(reserve.max(2)));
            }
        }
    }
}
