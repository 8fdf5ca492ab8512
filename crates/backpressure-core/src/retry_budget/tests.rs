use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs_f64(seconds)
}

/// A budget that earns by time alone.
fn timed(reserve: u32) -> RetryBudget {
    RetryBudget::ratio(0.0).reserve(reserve).refill(Duration::from_secs(5))
}

fn spend_all(budget: &mut RetryBudget, now: Timestamp) -> u64 {
    std::iter::from_fn(|| budget.withdraw(now, false)).count() as u64
}

#[test]
fn every_ratio_is_exact() {
    for percent in 0..=100_u32 {
        let mut budget = RetryBudget::ratio(f64::from(percent) / 100.0).reserve(0);
        let mut spent = 0;
        for _ in 0..10_000 {
            budget.first_attempts(1);
            spent += spend_all(&mut budget, Timestamp::ZERO);
        }
        assert_eq!(spent, u64::from(percent) * 100, "{percent} %");
    }
}

#[test]
fn time_earns_one_retry_and_no_more() {
    let mut budget = timed(0);
    assert_eq!(spend_all(&mut budget, at(4.9)), 0);
    assert_eq!(spend_all(&mut budget, at(5.0)), 1);
    assert_eq!(spend_all(&mut budget, at(1_000.0)), 1);
}

#[test]
fn a_balance_of_one_retry_or_more_earns_nothing_by_time() {
    let mut budget = timed(3);
    assert_eq!(budget.balance(at(1_000.0)), 3.0);
    assert!(budget.withdraw(at(1_000.0), false).is_some());
    assert_eq!(budget.balance(at(2_000.0)), 2.0);
    assert_eq!(spend_all(&mut budget, at(2_000.0)), 2);
    // Time before the last retry was spent does not count.
    assert_eq!(budget.balance(at(2_004.9)), 0.0);
    assert_eq!(budget.balance(at(2_005.0)), 1.0);
}

#[test]
fn a_ratio_of_zero_earns_nothing_unless_a_refill_is_set() {
    let mut budget = RetryBudget::ratio(0.0).reserve(1);
    assert_eq!(spend_all(&mut budget, at(0.0)), 1);
    assert_eq!(spend_all(&mut budget, at(1e6)), 0);
}

#[test]
fn a_client_with_a_request_every_five_seconds_always_has_a_retry() {
    let mut budget = RetryBudget::default();
    for turn in 0..1_000 {
        budget.first_attempts(1);
        assert!(budget.withdraw(at(5.0 * f64::from(turn)), false).is_some(), "request {turn}");
    }
}

#[test]
fn a_clock_that_goes_back_earns_nothing() {
    let mut budget = timed(0);
    assert_eq!(spend_all(&mut budget, at(10.0)), 1);
    assert_eq!(budget.balance(at(0.0)), 0.0);
    assert_eq!(budget.balance(at(14.9)), 0.0);
}

#[test]
fn a_charge_that_is_refunded_leaves_the_balance_as_it_was() {
    let mut budget = RetryBudget::ratio(1.0).reserve(5);
    let charge = budget.withdraw(Timestamp::ZERO, false).expect("a full reserve");
    budget.first_attempts(9);
    budget.refund(charge);
    assert_eq!(budget.balance(Timestamp::ZERO), 5.0);
}

/// gRPC proposal A6: `maxTokens` 10 and `tokenRatio` 0.1. The fifth failure leaves 5 tokens, which is not
/// more than half, and throttles. Each ten successes repair one failure.
#[test]
fn the_published_arithmetic_of_grpc_throttling_is_reproduced() {
    let mut budget = RetryBudget::grpc(10, 0.1);
    for left in [9.0, 8.0, 7.0, 6.0] {
        budget.failed();
        assert_eq!(budget.balance(Timestamp::ZERO), left);
        assert!(budget.withdraw(Timestamp::ZERO, false).is_some(), "{left} tokens");
    }
    budget.failed();
    assert_eq!(budget.balance(Timestamp::ZERO), 5.0);
    assert!(budget.withdraw(Timestamp::ZERO, false).is_none());
    budget.first_successes(1);
    assert_eq!(budget.balance(Timestamp::ZERO), 5.1);
    assert!(budget.withdraw(Timestamp::ZERO, false).is_some());
    for _ in 0..20 {
        budget.failed();
    }
    assert_eq!(budget.balance(Timestamp::ZERO), 0.0, "never below zero");
    budget.first_successes(10_000);
    assert_eq!(budget.balance(Timestamp::ZERO), 10.0, "never above max_tokens");
}

#[test]
fn three_decimals_of_the_token_ratio_count() {
    for (ratio, earned) in [(0.4567, 0.456), (0.029, 0.029), (1.001, 1.001)] {
        let mut budget = RetryBudget::grpc(10, ratio);
        for _ in 0..10 {
            budget.failed();
        }
        budget.first_successes(1);
        assert_eq!(budget.balance(Timestamp::ZERO), earned);
    }
}

/// botocore, `retries/standard.py`: 500 tokens, a retry costs 5 and after a time-out 10. A success returns
/// the cost of its last retry, or adds 1 if it took none.
#[test]
fn the_published_arithmetic_of_the_aws_token_bucket_is_reproduced() {
    let mut budget = RetryBudget::aws();
    assert_eq!(spend_all(&mut budget, Timestamp::ZERO), 100);
    assert!(budget.withdraw(at(1e6), false).is_none(), "time earns nothing");
    budget.first_successes(4);
    assert!(budget.withdraw(Timestamp::ZERO, false).is_none());
    budget.first_successes(1);
    let charge = budget.withdraw(Timestamp::ZERO, false).expect("5 tokens");
    budget.succeeded_after(charge);
    assert_eq!(budget.balance(Timestamp::ZERO), 5.0);
    assert!(budget.withdraw(Timestamp::ZERO, true).is_none(), "a time-out costs 10");
    budget.first_successes(5);
    assert!(budget.withdraw(Timestamp::ZERO, true).is_some());
    assert_eq!(budget.balance(Timestamp::ZERO), 0.0);
    budget.first_successes(10_000);
    assert_eq!(budget.balance(Timestamp::ZERO), 500.0);
}

#[test]
fn forgetting_events_beyond_those_that_fill_changes_nothing() {
    for mut budget in [RetryBudget::ratio(0.3), RetryBudget::grpc(7, 0.3), RetryBudget::aws()] {
        let mut all = budget.clone();
        for each in [&mut budget, &mut all] {
            each.balance = 0;
        }
        let enough = budget.events_that_fill();
        budget.first_attempts(enough);
        budget.first_successes(enough);
        all.first_attempts(1_000_000);
        all.first_successes(1_000_000);
        assert_eq!(budget.balance(Timestamp::ZERO), all.balance(Timestamp::ZERO));
    }
    assert_eq!(RetryBudget::ratio(0.0).events_that_fill(), 0);
}
