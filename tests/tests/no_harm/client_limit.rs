//! The limit of a client for a server that fails a share of its requests.

use std::time::Duration;

use backpressure_tests::load::{Class, Content, Failure, Load, client, verify};
use http::StatusCode;

use super::{MIN_GOODPUT_SHARE, Pool, SECOND, WARM_UP, runs};

const POOL: Pool = Pool::fixed(40, 40);
const LENGTH: Duration = Duration::from_secs(30);
const TOO_MANY_REQUESTS: Failure = Failure::Status(StatusCode::TOO_MANY_REQUESTS);
const UNAVAILABLE: Failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);

/// Share of a small pool's capacity that a client serves: twenty answers a second tell little.
const SMALL_POOL_GOODPUT_SHARE: f64 = 0.85;

/// Requests in flight at half the capacity: 20 on average, plus three standard deviations.
const IN_FLIGHT_AT_HALF_LOAD: usize = 33;

#[test]
fn a_share_of_failures_does_not_lower_a_clients_limit_below_what_half_load_needs() {
    verify(runs([1.0 / 16.0, 0.2, 0.3, 0.4, 0.5]).map(|(share, seed)| {
        let rate = 0.5 * POOL.capacity() / (1.0 - share);
        let report = Load::new(format!("H2 503 {:.0} % 0.5x", share * 100.0), seed)
            .bottleneck(POOL.slots, POOL.service)
            .class(Class::poisson("good", rate).work().failing(share, UNAVAILABLE))
            .run(LENGTH, client)
            .expect_all_served("good");
        let lowest = report.lowest_limit(SECOND).expect("the origin is known");
        report.expect(lowest >= IN_FLIGHT_AT_HALF_LOAD, format_args!("the limit fell to {lowest}"))
    }));
}

#[test]
fn a_client_uses_the_capacity_of_a_server_that_fails_a_share() {
    verify([1.0 / 16.0, 0.12, 0.2, 0.5].into_iter().map(|share| {
        let rate = 2.0 * POOL.capacity() / (1.0 - share);
        Load::new(format!("H2 503 {:.0} % 2x", share * 100.0), 1)
            .bottleneck(POOL.slots, POOL.service)
            .class(Class::poisson("good", rate).work().failing(share, UNAVAILABLE))
            .run(LENGTH, client)
            .expect_rate("good", MIN_GOODPUT_SHARE * POOL.capacity(), WARM_UP, LENGTH)
    }));
}

#[test]
fn idle_streams_do_not_occupy_a_clients_limit() {
    verify(runs([5.0, 20.0]).map(|(rate, seed)| {
        let streams = Class::poisson("streams", rate).content(Content::Idle);
        Load::new(format!("H4 at a client, {rate} idle streams a second"), seed)
            .bottleneck(POOL.slots, POOL.service)
            .class(streams.content_type("application/grpc"))
            .class(Class::poisson("good", 0.5 * POOL.capacity()).work())
            .run(2 * LENGTH, client)
            .expect_all_served("good")
            .expect_all_served("streams")
    }));
}

#[test]
fn slow_failures_do_not_occupy_a_clients_limit() {
    let timeout = Failure::Status(StatusCode::GATEWAY_TIMEOUT);
    verify(runs([0.1, 0.01]).map(|(share, seed)| {
        let rate = 0.5 * POOL.capacity() / (1.0 - share);
        let good = Class::poisson("good", rate).work().failing(share, timeout);
        Load::new(format!("H2 504 after 5 s {:.0} % 0.5x", share * 100.0), seed)
            .bottleneck(POOL.slots, POOL.service)
            .class(good.fails_after(5 * SECOND).late_after(6 * SECOND))
            .run(LENGTH, client)
            .expect_all_served("good")
    }));
}

#[test]
fn a_client_finds_the_queue_of_a_small_and_slow_server() {
    let pool = Pool::fixed(4, 200);
    verify(runs([2.0, 4.0]).map(|(demand, seed)| {
        Load::new(format!("4 slots of 200 ms at a client, {demand}x"), seed)
            .bottleneck(pool.slots, pool.service)
            .class(Class::poisson("good", demand * pool.capacity()).work())
            .run(4 * LENGTH, client)
            .expect_rate("good", SMALL_POOL_GOODPUT_SHARE * pool.capacity(), LENGTH, 4 * LENGTH)
    }));
}

#[test]
fn a_client_rejects_nothing_for_long_where_nothing_is_scarce() {
    verify(runs([(500.0, SECOND), (2_000.0, SECOND / 2)]).map(|((rate, latency), seed)| {
        Load::new(format!("nothing scarce, {rate}/s of {latency:?} at a client"), seed)
            .class(Class::poisson("good", rate).delay(latency).late_after(4 * SECOND))
            .run(LENGTH, client)
            .expect_all_served_after("good", WARM_UP)
    }));
}

#[test]
fn refusals_that_load_does_not_cause_cost_a_wide_pool_at_half_load_nothing() {
    let pool = Pool::fixed(100, 200);
    verify(runs([0.1, 0.3]).map(|(share, seed)| {
        let rate = 0.5 * pool.capacity() / (1.0 - share);
        Load::new(format!("429 {:.0} % of 100 x 200 ms at a client", share * 100.0), seed)
            .bottleneck(pool.slots, pool.service)
            .class(Class::poisson("good", rate).work().failing(share, TOO_MANY_REQUESTS))
            .run(LENGTH, client)
            .expect_all_served("good")
    }));
}
