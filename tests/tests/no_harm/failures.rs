//! A share of the requests fails at once, at any load.

use std::time::Duration;

use backpressure_tests::load::{Class, Failure, Load, Report, adaptive, verify};
use http::StatusCode;

use super::{MIN_GOODPUT_SHARE, Pool, SECOND, WARM_UP, runs};

const POOL: Pool = Pool::fixed(40, 40);
/// Shares of requests that fail: one of sixteen replicas, one request in five, and one in two.
const SHARES: [f64; 3] = [1.0 / 16.0, 0.2, 0.5];
const LENGTH: Duration = Duration::from_secs(30);

/// Traffic of which the healthy part is `load` times what the bottleneck can do.
fn run(label: &str, load: f64, share: f64, failure: Failure, seed: u64) -> Report {
    let label = format!("{label} {:.0} % {load}x", share * 100.0);
    let rate = load * POOL.capacity() / (1.0 - share);
    Load::new(label, seed)
        .bottleneck(POOL.slots, POOL.service)
        .class(Class::poisson("good", rate).work().failing(share, failure))
        .run(LENGTH, adaptive)
}

fn half_load(label: &str, failure: Failure) {
    verify(
        runs(SHARES)
            .map(|(share, seed)| run(label, 0.5, share, failure, seed).expect_all_served("good")),
    );
}

fn double_load(label: &str, shares: &[f64], failure: Failure) {
    verify(shares.iter().map(|&share| {
        let min_rate = MIN_GOODPUT_SHARE * POOL.capacity();
        run(label, 2.0, share, failure, 1).expect_rate("good", min_rate, WARM_UP, LENGTH)
    }));
}

macro_rules! failures {
    ($($half:ident, $double:ident: $label:literal, $failure:expr;)*) => { $(
        #[test]
        fn $half() {
            half_load($label, $failure);
        }

        #[test]
        fn $double() {
            double_load($label, &SHARES, $failure);
        }
    )* };
}

failures! {
    a_share_of_500_causes_no_rejection_at_half_load, a_share_of_500_costs_no_goodput_at_double_load:
        "H1 500", Failure::Status(StatusCode::INTERNAL_SERVER_ERROR);
    a_share_of_502_causes_no_rejection_at_half_load, a_share_of_502_costs_no_goodput_at_double_load:
        "H1 502", Failure::Status(StatusCode::BAD_GATEWAY);
    a_share_of_503_causes_no_rejection_at_half_load, a_share_of_503_costs_no_goodput_at_double_load:
        "H1 503", Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
    a_share_of_504_causes_no_rejection_at_half_load, a_share_of_504_costs_no_goodput_at_double_load:
        "H1 504", Failure::Status(StatusCode::GATEWAY_TIMEOUT);
    a_share_of_429_causes_no_rejection_at_half_load, a_share_of_429_costs_no_goodput_at_double_load:
        "H1 429", Failure::Status(StatusCode::TOO_MANY_REQUESTS);
    a_share_of_grpc_14_causes_no_rejection_at_half_load, a_share_of_grpc_14_costs_no_goodput_at_double_load:
        "H1 gRPC 14", Failure::Grpc(14);
    a_share_of_errors_causes_no_rejection_at_half_load, a_share_of_errors_costs_no_goodput_at_double_load:
        "H1 error", Failure::Error;
}

#[test]
fn a_share_of_resets_causes_no_rejection_at_half_load() {
    half_load("H1 reset", Failure::Reset);
}

#[test]
fn a_share_of_resets_costs_no_goodput_at_double_load() {
    double_load("H1 reset", &SHARES, Failure::Reset);
}

const UNAVAILABLE: Failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);

/// 1.2 times the capacity with failures for 20 s, then .8 times without.
#[test]
fn a_service_recovers_within_five_seconds_after_failures_have_stopped() {
    let (stop, length) = (20 * SECOND, 60 * SECOND);
    verify(runs([0.09, 0.02, 0.5]).map(|(share, seed)| {
        let before = Class::poisson("before", 1.2 * POOL.capacity()).work();
        let after = Class::poisson("after", 0.8 * POOL.capacity()).work();
        Load::new(format!("H17 503 {:.0} % for 20 s", share * 100.0), seed)
            .bottleneck(POOL.slots, POOL.service)
            .class(before.failing(share, UNAVAILABLE).between(Duration::ZERO, stop))
            .class(after.between(stop, length))
            .run(length, adaptive)
            .expect_all_served_after("after", stop + 5 * SECOND)
    }));
}

/// Failures that are so rare that some measurement windows contain none.
fn rare_failures_cost_no_goodput(pool: Pool, length: Duration, seed: u64) {
    verify([0.01, 0.02, 0.04].into_iter().map(|share| {
        let rate = 1.2 * pool.capacity() / (1.0 - share);
        Load::new(format!("H18 503 {:.0} % 1.2x {length:?}", share * 100.0), seed)
            .bottleneck(pool.slots, pool.service)
            .class(Class::poisson("good", rate).work().failing(share, UNAVAILABLE))
            .run(length, adaptive)
            .expect_rate("good", MIN_GOODPUT_SHARE * pool.capacity(), WARM_UP, length)
    }));
}

#[test]
fn rare_failures_cost_no_goodput_in_a_minute_of_overload() {
    rare_failures_cost_no_goodput(POOL, 60 * SECOND, 1);
}

#[test]
fn rare_failures_cost_no_goodput_in_twenty_minutes_of_overload() {
    rare_failures_cost_no_goodput(Pool::fixed(10, 200), 1_200 * SECOND, 2);
}
