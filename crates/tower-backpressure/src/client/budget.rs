//! How many retries a process may afford.

use std::sync::Arc;

use self::bucket::Bucket;

mod bucket;

/// The share of traffic that may be retries, kept by everybody who shares it.
///
/// A limit on attempts bounds one request; when every request fails, three attempts each still
/// triple the load of a service that is down because of load. The budget bounds the whole: each
/// first attempt deposits `ratio` of a token, each retry withdraws one, and with nothing to
/// withdraw the answer at hand is the answer.
///
/// However many callers there are, over any sequence of attempts since the budget was made
///
/// > retries ≤ `reserve` + `ratio` × first attempts
///
/// A retry that brings back a [ticket](crate::RETURN_TICKET) is not charged: the server has set a place
/// aside for it, so such retries come no faster than it can serve them.
///
/// Clones share one balance. A budget is per process: a fleet of `n` amplifies by the same ratio,
/// and its reserves add up to `n` × `reserve`. Give each origin its own, or one that fails spends
/// what the others would need.
///
/// | option | default | why |
/// |---|---|---|
/// | `ratio` | 0.1 | a tenth more load is what an overloaded service can bear (Google's SRE book, chapter 21) |
/// | `reserve` | 10 retries | a few failures at the start or in a trickle of traffic; small, as it is what a fleet adds at once |
///
/// No clock is involved: a client that sends nothing earns nothing, and one that has been idle
/// holds its reserve and no more.
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
    /// Retries may be `ratio` of the first attempts, exactly: 0.1 is one retry in ten requests.
    ///
    /// # Panics
    /// When `ratio` is not in 0.0..=1.0.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        assert!((0.0..=1.0).contains(&ratio), "ratio must be in 0.0..=1.0, was {ratio}");
        Self::with(ratio, DEFAULT_RESERVE)
    }

    /// How many retries there are to begin with, and the most that can be saved up (at least two,
    /// or fractions would be lost). The budget starts anew: make this choice before sharing it.
    ///
    /// # Panics
    /// When `reserve` is not in 0..=1 000 000.
    #[must_use]
    pub fn reserve(self, reserve: u32) -> Self {
        assert!(reserve <= MAX_RESERVE, "reserve must be in 0..=1000000, was {reserve}");
        Self::with(self.ratio, reserve)
    }

    /// Counts a first attempt, at the moment it is sent.
    pub fn deposit(&self) {
        self.bucket.deposit();
    }

    /// Takes one retry out, if there is one. Withdraw before the wait: charged after it, a crowd
    /// of waiters would find out together that there is only one token left.
    #[must_use]
    pub fn withdraw(&self) -> Option<Withdrawal> {
        self.bucket.withdraw().then(|| Withdrawal { unspent: Some(Arc::clone(&self.bucket)) })
    }

    /// How many retries could be withdrawn now, fractions included.
    #[must_use]
    pub fn balance(&self) -> f64 {
        self.bucket.balance()
    }

    fn with(ratio: f64, reserve: u32) -> Self {
        Self { ratio, bucket: Arc::new(Bucket::new(ratio, reserve)) }
    }
}

impl Default for RetryBudget {
    /// One retry in ten requests and a reserve of ten.
    fn default() -> Self {
        Self::with(DEFAULT_RATIO, DEFAULT_RESERVE)
    }
}

/// One retry, paid for. Dropped unspent, it is paid back, once.
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
#[must_use = "a withdrawal that is dropped is paid back"]
pub struct Withdrawal {
    unspent: Option<Arc<Bucket>>,
}

impl Withdrawal {
    /// Keeps the charge: the retry is being sent.
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

const DEFAULT_RATIO: f64 = 0.1;
const DEFAULT_RESERVE: u32 = 10;

/// Enough for anybody, and far from the end of the bucket's integers.
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
    fn a_reserve_is_spent_once_and_saved_up_no_higher() {
        let budget = RetryBudget::new(1.0).reserve(5);
        assert_eq!(spend_all(&budget), 5);
        for _ in 0..1_000 {
            budget.deposit();
        }
        assert_eq!(spend_all(&budget), 5);
    }

    #[test]
    fn a_refund_never_lifts_the_balance_over_the_reserve() {
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
    fn a_ratio_that_is_no_number_is_refused() {
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
            let mut asleep = Vec::new();
            for step in steps {
                match step {
                    0 => { budget.deposit(); requests += 1.0; }
                    1 => asleep.extend(budget.withdraw()),
                    2 => drop(asleep.pop()),
                    _ => if let Some(withdrawal) = asleep.pop() {
                        withdrawal.spend();
                        retries += 1.0;
                    }
                }
                // A deposit is rounded to a billionth.
                let allowed = f64::from(reserve) + (ratio + 1e-9) * requests;
                prop_assert!(retries + asleep.len() as f64 <= allowed + 1e-9);
                prop_assert!(budget.balance() <= f64::from(reserve.max(2)));
            }
        }
    }
}
