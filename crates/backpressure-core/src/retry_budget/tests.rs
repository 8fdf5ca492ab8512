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
            budget.first_attempts(1, Timestamp::ZERO);
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
        budget.first_attempts(1, at(5.0 * f64::from(turn)));
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
    let mut budget = RetryBudget::ratio(1.0).reserve(20);
    let charge = budget.withdraw(Timestamp::ZERO, false).expect("a full reserve");
    budget.first_attempts(9, Timestamp::ZERO);
    budget.refund(charge);
    assert_eq!(budget.balance(Timestamp::ZERO), 20.0);
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
    for mut budget in [RetryBudget::grpc(7, 0.3), RetryBudget::aws()] {
        let mut all = budget.clone();
        for each in [&mut budget, &mut all] {
            each.balance = 0;
        }
        let enough = budget.events_that_fill();
        budget.first_successes(enough);
        all.first_successes(1_000_000);
        assert_eq!(budget.balance(Timestamp::ZERO), all.balance(Timestamp::ZERO));
    }
    assert_eq!(RetryBudget::ratio(0.0).events_that_fill(), 0);
    assert_eq!(RetryBudget::ratio(0.3).events_that_fill(), u64::MAX, "all of them count");
}

/// First attempts at this rate from one moment to the other, told in steps of this length.
fn send(budget: &mut RetryBudget, rate: f64, from: f64, to: f64, step: f64) {
    let count = ((to - from) / step).round() as u32;
    for n in 1..=count {
        budget.first_attempts((rate * step) as u64, at(from + f64::from(n) * step));
    }
}

#[test]
fn a_busy_client_saves_what_two_seconds_have_earned_however_often_it_is_told() {
    for step in [0.01, 0.1, 1.0, 10.0, 1_000.0] {
        let mut budget = RetryBudget::ratio(0.1);
        send(&mut budget, 1_000.0, 0.0, 1_000.0, step);
        let saved = budget.balance(at(1_000.0));
        assert!((195.0..=201.0).contains(&saved), "{saved} in steps of {step} s");
        assert_eq!(spend_all(&mut budget, at(1_000.0)), saved as u64);
    }
}

#[test]
fn a_client_that_was_busy_long_ago_has_its_reserve() {
    let mut budget = RetryBudget::ratio(0.1);
    send(&mut budget, 1_000.0, 0.0, 10.0, 0.1);
    budget.first_attempts(1, at(30.0));
    assert_eq!(budget.balance(at(30.0)), 10.0);
    assert_eq!(budget.largest_balance(), 10.0);
}

#[test]
fn retries_of_any_span_are_bounded_by_what_was_saved_before_and_earned_in_it() {
    for rate in [1.0, 50.0, 1_000.0] {
        let mut budget = RetryBudget::ratio(0.1);
        let mut spent = 0;
        send(&mut budget, rate, 0.0, 60.0, 1.0);
        for n in 60..120 {
            send(&mut budget, rate, f64::from(n), f64::from(n + 1), 1.0);
            spent += spend_all(&mut budget, at(f64::from(n + 1)));
        }
        let saved = (0.1 * rate * 2.0).max(10.0);
        let allowed = saved + 0.1 * rate * 60.0 + 60.0 / 5.0;
        assert!(spent as f64 <= allowed + 1.0, "{spent} of {allowed} at {rate}/s");
    }
}
