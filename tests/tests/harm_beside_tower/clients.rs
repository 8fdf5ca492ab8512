//! Clients that leave early, retry at once, or ignore what they are told.

use std::ops::RangeInclusive;
use std::time::Duration;

use backpressure_tests::load::{Class, Failure, adaptive, verify};
use http::StatusCode;

use super::{MILLI, Pool, SEED, SEEDS, WARM_UP};

const LENGTH: Duration = Duration::from_secs(30);
const POOL: Pool = Pool::varied(20, 30);

#[test]
fn clients_with_time_outs_below_the_service_time_cost_the_others_nothing() {
    for (share, millis, load) in [(0.05, 10, 0.5), (0.3, 10, 0.5), (0.3, 20, 0.5), (0.6, 25, 0.4)] {
        verify(SEED.map(|seed| {
            let rate = load * POOL.capacity();
            let hasty = Class::poisson("hasty", share * rate).work().cancels_after(millis * MILLI);
            POOL.load(&format!("{share} of the clients leave after {millis} ms, {load}x"), seed)
                .class(Class::poisson("others", (1.0 - share) * rate).work())
                .class(hasty)
                .run(LENGTH, adaptive)
                .expect_all_served("others")
        }));
    }
}

fn check_hasty_clients_in_overload(values: &[(f64, u32)], seeds: &RangeInclusive<u64>) {
    for (share, millis) in values.iter().copied() {
        verify(seeds.clone().map(|seed| {
            let rate = 2.0 * POOL.capacity();
            let hasty = Class::poisson("hasty", share * rate).work().cancels_after(millis * MILLI);
            POOL.load(&format!("{share} of the clients leave after {millis} ms, 2x"), seed)
                .class(Class::poisson("others", (1.0 - share) * rate).work())
                .class(hasty)
                .compare(POOL.tuned(), LENGTH, &["others"], WARM_UP)
        }));
    }
}

#[test]
#[ignore = "known miss: 0.82 to 0.985 of what a limit tuned by hand serves; 0.69 of what no layer serves"]
fn clients_with_time_outs_below_the_service_time_cost_no_goodput_in_overload() {
    check_hasty_clients_in_overload(&[(0.3, 10), (0.5, 20)], &SEEDS);
}

/// In a flood of retries each rejection is delayed by a second, and three may precede a response.
const AFTER_THREE_DELAYS: Duration = Duration::from_secs(4);

#[test]
fn clients_that_retry_three_times_at_once_cost_no_goodput() {
    for load in [0.8, 1.2, 2.0, 4.0] {
        verify(SEED.map(|seed| {
            let all = Class::poisson("all", load * POOL.capacity()).work().retries_at_once(3);
            POOL.load(&format!("3 retries at once {load}x"), seed)
                .class(all.late_after(AFTER_THREE_DELAYS))
                .compare(POOL.tuned(), LENGTH, &["all"], WARM_UP)
        }));
    }
}

#[test]
fn clients_that_retry_failures_three_times_at_once_cause_no_rejection_at_half_load() {
    for failure in
        [Failure::Status(StatusCode::SERVICE_UNAVAILABLE), Failure::Reset, Failure::Grpc(14)]
    {
        verify(SEED.map(|seed| {
            let class = Class::poisson("all", 0.5 * POOL.capacity()).work();
            POOL.load(&format!("half fails with {failure:?}, 3 retries at once .5x"), seed)
                .class(class.failing(0.5, failure).retries_at_once(3))
                .run(LENGTH, adaptive)
                .expect_all_served("all")
        }));
    }
}

fn check_patience(values: &[(f64, u32)], seeds: &RangeInclusive<u64>) {
    for (load, millis) in values.iter().copied() {
        verify(seeds.clone().map(|seed| {
            let class =
                |name, share: f64| Class::poisson(name, share * load * POOL.capacity()).work();
            POOL.load(&format!("patience of {millis} ms, twice and four times that, {load}x"), seed)
                .class(class("short", 0.4).cancels_after(millis * MILLI))
                .class(class("longer", 0.3).cancels_after(2 * millis * MILLI))
                .class(class("long", 0.3).cancels_after(4 * millis * MILLI))
                .compare(POOL.tuned(), LENGTH, &["short", "longer", "long"], WARM_UP)
        }));
    }
}

#[test]
fn clients_whose_patience_varies_are_served_as_by_a_tuned_limit() {
    check_patience(&[(1.2, 200), (5.0, 100)], &SEED);
}

#[test]
#[ignore = "known miss: 0.986 of what a limit tuned by hand serves"]
fn clients_whose_patience_varies_are_served_as_by_a_tuned_limit_at_double_load() {
    check_patience(&[(2.0, 200)], &SEEDS);
}

/// Once hardly any caller is served in time the limit has to be found lower, although it is not reached.
#[test]
fn clients_that_leave_after_a_few_service_times_are_served_again() {
    const HALF: Duration = Duration::from_secs(60);
    let large = Pool::fixed(64, 500);
    for (pool, load, patience) in [
        (large, 1.5, 1_500),
        (large, 1.5, 2_000),
        (large, 1.5, 3_000),
        (Pool::fixed(48, 500), 1.5, 2_000),
        (Pool::fixed(100, 1_000), 2.0, 3_500),
    ] {
        verify((1..=6).map(|seed| {
            let callers = Class::poisson("all", load * pool.capacity()).work();
            let callers = callers.cancels_after(patience * MILLI).late_after(patience * MILLI);
            pool.load(&format!("all leave after {patience} ms, {load}x"), seed)
                .class(callers)
                .run(2 * HALF, adaptive)
                .expect_rate("all", 0.95 * pool.capacity(), HALF, 2 * HALF)
        }));
    }
}
