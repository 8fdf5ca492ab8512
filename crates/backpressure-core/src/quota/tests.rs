//! A quota against a naive model: buckets whose level is a fraction, refilled at each step.

use std::time::Duration;

use proptest::prelude::*;

use self::bucket::{Bucket, naive};
use super::*;

mod bucket;

const SECOND_NANOS: u64 = 1_000_000_000;

prop_compose! {
    fn window()(
        tokens in prop_oneof![1..20_u64, 1..2_000_000_000_u64, MAX_TOKENS - 3..=MAX_TOKENS],
        period in prop_oneof![Just(SECOND_NANOS), 1_000..100_000_u64, 1..90_000_u64 * SECOND_NANOS],
        burst in prop_oneof![1..30_u64, 1..=MAX_TOKENS],
        max_debt in prop_oneof![Just(0_u64), 0..40_u64, 0..=MAX_TOKENS],
    ) -> QuotaWindow {
        let window = QuotaWindow::try_new(tokens, Duration::from_nanos(period));
        let window = window.and_then(|window| window.try_burst(burst));
        window.and_then(|window| window.try_max_debt(max_debt)).expect("in range")
    }
}

fn quota() -> impl Strategy<Value = Quota> {
    let delay = prop_oneof![Just(0_u64), 0..SECOND_NANOS, Just(u64::MAX)];
    (proptest::collection::vec(window(), 1..=MAX_WINDOWS), delay).prop_map(|(windows, delay)| {
        let mut quota = Quota::unlimited().smooth(Duration::from_nanos(delay));
        for (index, window) in windows.into_iter().enumerate() {
            if quota.windows().all(|known| known.period() != window.period()) {
                quota.windows[index] = Some(window);
            }
        }
        quota
    })
}

#[derive(Clone, Debug)]
enum Step {
    Request { cost: u64 },
    Settle { reserved: u64, actual: u64 },
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let tokens = || prop_oneof![8 => 0..40_u64, 1 => 0..=MAX_TOKENS, 1 => any::<u64>()];
    let gap = prop_oneof![
        Just(0_u64),
        0..2 * SECOND_NANOS,
        1..2_000_u64,
        // Idle for up to twenty years.
        Just(20 * 365 * 24 * 3_600 * SECOND_NANOS),
    ];
    let step = prop_oneof![
        3 => tokens().prop_map(|cost| Step::Request { cost }),
        1 => (tokens(), tokens()).prop_map(|(reserved, actual)| Step::Settle { reserved, actual }),
    ];
    (gap, step)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_decision_is_that_of_a_naive_bucket(
        quota in quota(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut usage = [QuotaUsage::default(); MAX_WINDOWS];
        let mut buckets: Vec<_> = quota.windows().map(Bucket::new).collect();
        let mut now = 0_u64;
        for (gap, step) in steps {
            now = now.saturating_add(gap);
            let at = Timestamp::from_nanos(now);
            match step {
                Step::Request { cost } => {
                    let expected = naive(&mut buckets, quota.max_delay, cost, now);
                    prop_assert_eq!(quota.decide(&mut usage, 0, cost, at), expected);
                }
                Step::Settle { reserved, actual } => {
                    let reserved = reserved.min(MAX_TOKENS);
                    buckets.iter_mut().for_each(|it| { it.refill(now); it.settle(reserved, actual); });
                    quota.settle(&mut usage, &mut TakenTokens::of(reserved), actual, at);
                }
            }
            for (standing, bucket) in quota.standing(&usage, at).zip(&buckets) {
                let level = bucket.level.max(0) / bucket.period;
                prop_assert_eq!(i128::from(standing.remaining), level);
                prop_assert_eq!(standing.more_in.is_none(), bucket.level == bucket.burst * bucket.period);
            }
        }
    }

    #[test]
    fn a_rejected_request_that_returns_when_told_is_admitted(
        quota in quota(),
        costs in proptest::collection::vec(0..40_u64, 1..60),
    ) {
        let (mut usage, mut now) = ([QuotaUsage::default(); MAX_WINDOWS], Timestamp::ZERO);
        for cost in costs {
            let QuotaDecision::Reject(rejection) = quota.decide(&mut usage, 0, cost, now) else { continue };
            if !rejection.is_possible {
                continue;
            }
            let just_before = (now + rejection.retry_after) - Duration::from_nanos(1);
            prop_assert_ne!(quota.decide(&mut usage.clone(), 0, cost, just_before), QuotaDecision::Admit);
            now = now + rejection.retry_after;
            // A timestamp ends after 584 years.
            if rejection.retry_after < Duration::from_nanos(u64::MAX) {
                prop_assert_eq!(quota.decide(&mut usage, 0, cost, now), QuotaDecision::Admit);
            }
        }
    }

    #[test]
    fn a_change_of_plan_and_back_changes_nothing(
        one in quota(),
        other in quota(),
        costs in proptest::collection::vec((0..3 * SECOND_NANOS, 0..40_u64), 1..40),
        changes in 1..4,
    ) {
        // Windows that the other plan lacks are forgotten with it.
        prop_assume!(other.windows().count() >= one.windows().count());
        let (mut usage, mut now) = ([QuotaUsage::default(); MAX_WINDOWS], Timestamp::ZERO);
        for (gap, cost) in costs {
            now = now + Duration::from_nanos(gap);
            let _ = one.decide(&mut usage, 0, cost, now);
        }
        let mut changed = usage;
        for _ in 0..changes {
            changed = one.usage_after(&other, &other.usage_after(&one, &changed, now), now);
        }
        let sum = |usage: &[QuotaUsage]| -> f64 {
            one.windows().zip(usage).map(|(window, usage)| usage.used_tokens(window, now)).sum()
        };
        // Each change rounds up to the unit of the window, and mints nothing.
        let unit = |window: &QuotaWindow| 1.0 / window.period().as_nanos() as f64;
        let units: f64 = one.windows().chain(other.windows()).map(unit).sum();
        let (before, after) = (sum(&usage), sum(&changed));
        let float = 1e-12 * before;
        prop_assert!(after >= before - float, "{before} {after}");
        prop_assert!(after <= before + 2.0 * f64::from(changes) * units + float, "{before} {after}");
    }
}

impl QuotaUsage {
    fn used_tokens(self, window: &QuotaWindow, now: Timestamp) -> f64 {
        self.used(window, now) as f64 / window.period().as_nanos() as f64
    }
}

fn remaining(quota: &Quota, usage: &[QuotaUsage], now: Timestamp) -> Vec<u64> {
    quota.standing(usage, now).map(|standing| standing.remaining).collect()
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * SECOND_NANOS)
}

#[test]
fn a_request_that_one_window_rejects_takes_tokens_from_none() {
    let quota = Quota::per_second(10).and(Quota::per_day(15));
    let (mut usage, now) = ([QuotaUsage::default(); 2], seconds(5));
    let mut admitted = 0;
    for second in 0..100 {
        for _ in 0..100 {
            let decision = quota.decide(&mut usage, 0, 1, now + Duration::from_secs(second));
            admitted += u32::from(decision == QuotaDecision::Admit);
        }
    }
    assert_eq!(admitted, 15);
    assert_eq!(remaining(&quota, &usage, now + Duration::from_secs(99)), [10, 0]);
}

#[test]
fn a_change_of_plan_mid_stream_keeps_what_was_used() {
    let (day, more) = (Quota::per_day(1_000), Quota::per_day(5_000));
    let (mut usage, now) = ([QuotaUsage::default(); 4], seconds(9));
    for _ in 0..900 {
        let _ = day.decide(&mut usage, 0, 1, now);
    }
    let upgraded = more.usage_after(&day, &usage, now);
    assert_eq!(remaining(&more, &upgraded, now), [4_100]);
    let downgraded = day.usage_after(&more, &upgraded, now);
    assert_eq!(downgraded, usage);
    // A window of another period is a successor where there is no other; a second window starts full.
    let both = Quota::per_hour(1_000).and(Quota::per_second(10));
    assert_eq!(remaining(&both, &both.usage_after(&day, &usage, now), now), [100, 10]);
    let swapped = Quota::per_second(10).and(Quota::per_hour(1_000));
    let back = swapped.usage_after(&both, &both.usage_after(&day, &usage, now), now);
    assert_eq!(remaining(&swapped, &back, now), [10, 100]);
}

#[test]
fn a_window_that_is_taken_away_and_added_again_is_full() {
    let (both, second) = (Quota::per_second(10).and(Quota::per_day(100)), Quota::per_second(10));
    let (mut usage, now) = ([QuotaUsage::default(); 2], seconds(1));
    assert_eq!(both.decide(&mut usage, 0, 10, now), QuotaDecision::Admit);
    let back = both.usage_after(&second, &second.usage_after(&both, &usage, now), now);
    assert_eq!(remaining(&both, &back, now), [0, 100]);
    let none = Quota::unlimited();
    let back = both.usage_after(&none, &none.usage_after(&both, &usage, now), now);
    assert_eq!(remaining(&both, &back, now), [10, 100]);
}

#[test]
fn what_a_request_cost_beyond_its_reservation_is_owed_up_to_the_debt() {
    let quota = Quota::per_second(100).max_debt(50);
    let (mut usage, now) = ([QuotaUsage::default()], seconds(1));
    assert_eq!(quota.decide(&mut usage, 0, 100, now), QuotaDecision::Admit);
    assert_eq!(quota.settle(&mut usage, &mut TakenTokens::of(100), 130, now), 0);
    assert_eq!(quota.settle(&mut usage, &mut TakenTokens::of(0), 1_000, now), 980);
    let QuotaDecision::Reject(rejection) = quota.decide(&mut usage, 0, 1, now) else {
        panic!("it owes")
    };
    assert_eq!(rejection.retry_after, Duration::from_millis(510));
    // Given back, it is as before.
    quota.settle(&mut usage, &mut TakenTokens::of(150), 0, now);
    assert_eq!(remaining(&quota, &usage, now), [100]);
    assert_eq!(usage[0].used(quota.windows().next().unwrap(), now), 0);
}

#[test]
fn a_request_that_is_settled_again_gives_back_what_it_has_taken_of_each_window_and_no_more() {
    let quota = Quota::per_second(100).max_debt(0).and(Quota::per_day(10_000_000));
    let (mut usage, now) = ([QuotaUsage::default(); 2], seconds(1));
    assert_eq!(quota.decide(&mut usage, 0, 80, now), QuotaDecision::Admit);
    assert_eq!(quota.decide(&mut usage, 0, 10, now), QuotaDecision::Admit);
    let mut taken = TakenTokens::of(10);
    for actual in [1_000_000, 15, u64::MAX, 0, 1_000_000, 5] {
        quota.settle(&mut usage, &mut taken, actual, now);
    }
    // The 80 tokens of the other request are not forgiven.
    assert_eq!(remaining(&quota, &usage, now), [15, 9_999_915]);
}

#[test]
fn tokens_given_back_never_fill_a_bucket_beyond_its_burst() {
    let quota = Quota::per_second(10);
    let (mut usage, now) = ([QuotaUsage::default()], seconds(1));
    let _ = quota.decide(&mut usage, 0, 5, now);
    quota.settle(&mut usage, &mut TakenTokens::of(u64::MAX), 0, now);
    assert_eq!(remaining(&quota, &usage, now), [10]);
    let _ = quota.decide(&mut usage, 0, 10, now);
    assert!(matches!(quota.decide(&mut usage, 0, 1, now), QuotaDecision::Reject(_)));
}

#[test]
fn a_leaky_bucket_delays_up_to_its_bound_and_then_rejects() {
    let quota = Quota::per_second(10).burst(1).smooth(Duration::from_millis(250));
    let (mut usage, now) = ([QuotaUsage::default()], seconds(3));
    let mut decide = || quota.decide(&mut usage, 0, 1, now);
    assert_eq!(decide(), QuotaDecision::Admit);
    assert_eq!(decide(), QuotaDecision::Delay(Duration::from_millis(100)));
    assert_eq!(decide(), QuotaDecision::Delay(Duration::from_millis(200)));
    let QuotaDecision::Reject(rejection) = decide() else { panic!("0.3 s are too long") };
    assert_eq!(rejection.retry_after, Duration::from_millis(300));
}

#[test]
fn requests_at_once_are_limited_and_take_no_tokens_beyond() {
    let quota = Quota::per_second(10).and(Quota::concurrent(2));
    let (mut usage, now) = ([QuotaUsage::default()], seconds(3));
    assert_eq!(quota.decide(&mut usage, 1, 1, now), QuotaDecision::Admit);
    let QuotaDecision::Reject(rejection) = quota.decide(&mut usage, 2, 1, now) else {
        panic!("two run")
    };
    assert!(rejection.violated.in_flight() && !rejection.violated.window(0));
    assert!(rejection.is_possible);
    assert_eq!(rejection.retry_after, Duration::ZERO);
    assert_eq!(remaining(&quota, &usage, now), [9]);
}

#[test]
fn a_request_that_costs_more_than_a_burst_is_never_possible() {
    let quota = Quota::per_second(10);
    let mut usage = [QuotaUsage::default()];
    for cost in [11, u64::MAX] {
        let QuotaDecision::Reject(rejection) = quota.decide(&mut usage, 0, cost, seconds(1)) else {
            panic!("it costs too much")
        };
        assert!(!rejection.is_possible);
    }
    assert_eq!(usage, [QuotaUsage::default()]);
}

#[test]
fn a_rate_that_is_no_whole_number_of_nanoseconds_does_not_drift() {
    // Three a second: 333 333 333.3 ns each. A million seconds later nothing is lost or gained.
    let quota = Quota::per_second(3).burst(1);
    let (mut usage, mut admitted) = ([QuotaUsage::default()], 0_u64);
    let (step, end) = (Duration::from_nanos(333_333_334), seconds(1_000_000));
    let mut now = Timestamp::ZERO;
    while now < end {
        match quota.decide(&mut usage, 0, 1, now) {
            QuotaDecision::Admit => admitted += 1,
            QuotaDecision::Reject(rejection) => now = now + rejection.retry_after,
            QuotaDecision::Delay(_) => unreachable!("nothing is smoothed"),
        }
        if admitted % 2 == 0 {
            now = now + step;
        }
    }
    assert!((2_999_990..=3_000_001).contains(&admitted), "{admitted}");
}

#[test]
#[should_panic(expected = "one window of a period")]
fn two_windows_of_one_period_are_refused() {
    let _ = Quota::per_second(1).and(Quota::per(2, Duration::from_millis(1_000)));
}

#[test]
#[should_panic(expected = "tokens must be in 1..=999999999999999")]
fn a_window_without_tokens_is_refused() {
    let _ = Quota::per_second(0);
}
