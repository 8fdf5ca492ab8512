//! What the adaptive limit makes of attempts that take far longer than others, or never run.

use std::time::Duration;

use backpressure_core::{Adaptive, Limit, Outcome, Sample, Timestamp};

const SHORT: Duration = Duration::from_millis(10);

/// So many attempts that only computed, one every `apart`, with so many in flight.
fn compute(limit: &mut Adaptive, attempts: u32, in_flight: usize, apart: Duration) {
    for attempt in 1..=attempts {
        let sample = Sample::new(SHORT, Outcome::Success).busy(SHORT).in_flight(in_flight);
        limit.observe(&sample, Timestamp::ZERO + attempt * apart);
    }
}

#[test]
fn without_overload_the_limit_leaves_room_for_attempts_that_have_not_ended_yet() {
    let mut limit = Adaptive::new(1);
    limit.start_at(300);
    compute(&mut limit, 2_000, 100, SHORT);
    assert_eq!(limit.limit(), 200);
}

#[test]
fn attempts_that_waited_for_a_worker_are_no_reason_for_a_higher_limit() {
    let mut limit = Adaptive::new(1);
    limit.start_at(300);
    let latency = 20 * SHORT;
    let waited = Sample::new(latency, Outcome::Success).busy(SHORT).run_queue(latency - SHORT);
    for attempt in 1..=2_000 {
        limit.observe(&waited.in_flight(100), Timestamp::ZERO + attempt * SHORT);
    }
    assert!(limit.limit() <= 10, "{}", limit.limit());
}

#[test]
fn attempts_that_end_while_longer_ones_hold_the_places_do_not_make_idle_workers_busy() {
    let mut limit = Adaptive::new(4);
    compute(&mut limit, 200, 48, 10 * SHORT);
    assert!(!limit.is_known());
}

#[test]
fn attempts_that_were_cancelled_before_they_ran_do_not_make_a_handler_look_cheap() {
    let mut limit = Adaptive::new(1);
    limit.start_at(1_000);
    let waited = Duration::from_secs(2);
    let sample = Sample::new(waited, Outcome::Cancelled).run_queue(waited).in_flight(1_000);
    for attempt in 1..=400 {
        limit.observe(&sample, Timestamp::ZERO + waited + attempt * SHORT);
    }
    assert!(limit.limit() <= 250 && limit.yields(), "{}", limit.limit());
}
