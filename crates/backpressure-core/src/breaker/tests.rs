//! Tests of the breaker.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::ZERO;
/// How long it is open at first.
const OPEN: Duration = Duration::from_millis(500);
const FAILED: CallEnding = CallEnding::Failed { retry_after: None };

fn call(breaker: &mut Breaker, ending: CallEnding, now: Timestamp) -> bool {
    match breaker.decide(now) {
        BreakerDecision::Send(pass) => {
            breaker.ended(pass, ending, now);
            true
        }
        BreakerDecision::Reject(_) => false,
    }
}

fn open() -> Breaker {
    let mut breaker = Breaker::new(BreakerSettings::default());
    while call(&mut breaker, FAILED, START) {}
    breaker
}

#[test]
fn it_opens_when_enough_calls_have_failed_and_not_before() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    let sent = std::iter::from_fn(|| call(&mut breaker, FAILED, START).then_some(())).count();
    assert_eq!(sent, 20);
    assert_eq!(breaker.state(), BreakerState::Open(START + OPEN));
}

#[test]
fn an_origin_that_fails_eight_of_ten_calls_is_used() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    for n in 0..10_000_u32 {
        let ending = if n % 5 == 0 { CallEnding::Succeeded } else { FAILED };
        assert!(call(&mut breaker, ending, START + n * SECOND / 100));
    }
}

#[test]
fn slow_calls_open_it_and_ignored_ones_do_not() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    assert!((0..1_000).all(|_| call(&mut breaker, CallEnding::Ignored, START)));
    while call(&mut breaker, CallEnding::Slow, START) {}
    assert!(matches!(breaker.state(), BreakerState::Open(_)));
}

#[test]
fn a_few_probes_are_sent_and_more_after_each_success_until_it_is_closed() {
    let mut breaker = open();
    let now = START + OPEN;
    let mut rounds = Vec::new();
    while breaker.state() != BreakerState::Closed {
        let sent: Vec<Pass> = std::iter::from_fn(|| match breaker.decide(now) {
            BreakerDecision::Send(pass) => Some(pass),
            BreakerDecision::Reject(_) => None,
        })
        .take(1_000)
        .collect();
        rounds.push(sent.len());
        sent.into_iter().for_each(|pass| breaker.ended(pass, CallEnding::Succeeded, now));
    }
    assert_eq!(rounds, [3, 3, 6, 12]);
}

#[test]
fn each_failed_probe_doubles_the_open_time_up_to_four_times() {
    let mut breaker = open();
    let mut lengths = Vec::new();
    for _ in 0..40 {
        let BreakerState::Open(until) = breaker.state() else { panic!("it is open") };
        assert!(call(&mut breaker, FAILED, until));
        let BreakerState::Open(next) = breaker.state() else { panic!("it is open again") };
        lengths.push(next.since(until).as_millis());
    }
    assert_eq!(lengths[..2], [1_000, 2_000]);
    assert!(lengths[2..].iter().all(|&length| length == 2_000), "{lengths:?}");
}

#[test]
fn probes_that_take_longer_than_the_open_time_close_it() {
    let mut breaker = open();
    let start = START + OPEN;
    // Each call takes three seconds, and ten come in a second.
    let mut in_flight = std::collections::VecDeque::new();
    for n in 0..200_u32 {
        let now = start + n * SECOND / 10;
        while let Some(&(pass, end)) = in_flight.front() {
            if end > now {
                break;
            }
            in_flight.pop_front();
            breaker.ended(pass, CallEnding::Succeeded, now);
        }
        if let BreakerDecision::Send(pass) = breaker.decide(now) {
            in_flight.push_back((pass, now + 3 * SECOND));
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn the_time_that_the_origin_names_is_the_open_time_up_to_a_minute() {
    for (named, open) in [(2, 2), (30, 30), (600, 60)] {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let told = CallEnding::Failed { retry_after: Some(named * SECOND) };
        while call(&mut breaker, told, START) {}
        assert_eq!(breaker.state(), BreakerState::Open(START + open * SECOND), "{named}");
    }
}

#[test]
fn probes_that_are_cancelled_or_never_end_are_replaced() {
    let mut breaker = open();
    let now = START + OPEN;
    assert!((0..100).all(|_| call(&mut breaker, CallEnding::Ignored, now)));
    let hanging = (0..100).filter(|_| matches!(breaker.decide(now), BreakerDecision::Send(_)));
    assert_eq!(hanging.count(), 3);
    let later = now + 4 * OPEN;
    assert!(matches!(breaker.decide(later), BreakerDecision::Send(_)));
}

#[test]
fn calls_sent_before_it_opened_do_not_close_it() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    let BreakerDecision::Send(early) = breaker.decide(START) else { panic!("it is closed") };
    while call(&mut breaker, FAILED, START) {}
    let _probe = breaker.decide(START + OPEN);
    for pass in [early, Pass::UNTRACKED] {
        breaker.ended(pass, CallEnding::Succeeded, START + OPEN);
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn an_origin_that_fails_again_while_calls_increase_is_left_alone_again() {
    let mut breaker = open();
    let now = START + OPEN;
    for _ in 0..3 {
        assert!(call(&mut breaker, CallEnding::Succeeded, now));
    }
    assert_eq!(breaker.state(), BreakerState::Ramping);
    let sent = std::iter::from_fn(|| call(&mut breaker, FAILED, now).then_some(())).count();
    assert_eq!(sent, 3);
    assert!(matches!(breaker.state(), BreakerState::Open(_)));
}
