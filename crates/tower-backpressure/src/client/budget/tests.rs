use std::thread;

use proptest::prelude::*;

use super::*;

/// A budget that earns nothing by time, as these tests do not run on the paused clock.
fn timeless(ratio: f64, reserve: u32) -> RetryBudget {
    RetryBudget::new(ratio).reserve(reserve).refill(Duration::ZERO)
}

fn spend_all(budget: &RetryBudget) -> u64 {
    let mut spent = 0;
    while let Some(withdrawal) = budget.withdraw() {
        withdrawal.spend();
        spent += 1;
    }
    spent
}

#[tokio::test(start_paused = true)]
async fn a_reserve_is_spent_once_and_the_balance_exceeds_it_by_what_was_earned_of_late_alone() {
    let budget = timeless(1.0, 5);
    assert_eq!(spend_all(&budget), 5);
    for _ in 0..1_000 {
        budget.deposit();
    }
    assert_eq!(spend_all(&budget), 1_000);
    for _ in 0..1_000 {
        budget.deposit();
    }
    assert_eq!(budget.balance(), 1_000.0);
    tokio::time::advance(Duration::from_secs(20)).await;
    budget.deposit();
    assert_eq!((budget.balance(), spend_all(&budget)), (5.0, 5));
}

#[test]
fn a_refund_never_raises_the_balance_above_the_reserve() {
    let budget = timeless(1.0, 5);
    let withdrawal = budget.withdraw();
    budget.deposit();
    drop(withdrawal);
    assert_eq!(budget.balance(), 5.0);
}

#[test]
fn concurrent_withdrawals_never_overspend() {
    let budget = timeless(0.25, 100);
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
        let budget = timeless(ratio, reserve);
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
            let saved = f64::from(reserve.max(2)).max(ratio * requests);
            prop_assert!(budget.balance() <= saved + 1e-9 * requests);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn time_earns_one_retry_on_tokios_clock() {
    let budget = RetryBudget::new(0.0).reserve(0).refill(Duration::from_secs(5));
    assert!(budget.withdraw().is_none());
    tokio::time::advance(Duration::from_secs(5)).await;
    budget.withdraw().expect("five seconds earn a retry").spend();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(budget.balance(), 1.0);
    let BudgetSnapshot { granted, denied, .. } = budget.snapshot();
    assert_eq!((granted, denied), (1, 1));
}

#[test]
fn ten_to_the_six_withdrawals_with_cancels_at_random_points_balance() {
    let budget = timeless(0.5, 1_000);
    let mut random = fastrand::Rng::with_seed(11);
    let (mut held, mut spent) = (Vec::new(), 0_u64);
    for _ in 0..1_000_000 {
        match random.u8(0..3) {
            0 => held.extend(budget.withdraw()),
            1 if !held.is_empty() => drop(held.swap_remove(random.usize(0..held.len()))),
            _ if spent < 500 => {
                spent += u64::from(held.pop().map(Withdrawal::spend).is_some());
            }
            _ => {}
        }
    }
    drop(held);
    let snapshot = budget.snapshot();
    assert_eq!(snapshot.granted, spent);
    assert_eq!(snapshot.balance, 1_000.0 - spent as f64);
}

#[test]
fn with_the_rule_of_grpc_failures_throttle_and_successes_repair() {
    let budget = RetryBudget::grpc(4, 0.5);
    budget.record_failure();
    let spent = budget.withdraw().expect("3 of 4 tokens").spend();
    budget.record_failure();
    assert!(budget.withdraw().is_none(), "half is not more than half");
    budget.record_success(Some(spent));
    assert_eq!(budget.balance(), 2.5);
    budget.record_success(None);
    assert_eq!(budget.balance(), 3.0);
}

#[test]
fn with_the_rule_of_aws_a_success_returns_the_price_of_its_retry() {
    let budget = RetryBudget::aws();
    let spent = budget.withdraw_after(true).expect("500 tokens").spend();
    assert_eq!(budget.balance(), 490.0);
    budget.record_success(Some(spent));
    budget.record_success(None);
    assert_eq!(budget.balance(), 500.0);
}
