//! Tests of the breaker.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::ZERO;
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
    assert_eq!(breaker.state(), BreakerState::Open(START + 5 * SECOND));
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
    let now = START + 5 * SECOND;
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
fn each_failed_probe_doubles_the_open_time_up_to_a_minute() {
    let mut breaker = open();
    let mut lengths = Vec::new();
    for _ in 0..6 {
        let BreakerState::Open(until) = breaker.state() else { panic!("it is open") };
        assert!(call(&mut breaker, FAILED, until));
        let BreakerState::Open(next) = breaker.state() else { panic!("it is open again") };
        lengths.push(next.since(until).as_secs());
    }
    assert_eq!(lengths, [10, 20, 40, 60, 60, 60]);
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
    let now = START + 5 * SECOND;
    assert!((0..100).all(|_| call(&mut breaker, CallEnding::Ignored, now)));
    let hanging = (0..100).filter(|_| matches!(breaker.decide(now), BreakerDecision::Send(_)));
    assert_eq!(hanging.count(), 3);
    let later = now + 5 * SECOND;
    assert!(matches!(breaker.decide(later), BreakerDecision::Send(_)));
}

#[test]
fn calls_sent_before_it_opened_do_not_close_it() {
    let mut breaker = Breaker::new(BreakerSettings::default());
    let BreakerDecision::Send(early) = breaker.decide(START) else { panic!("it is closed") };
    while call(&mut breaker, FAILED, START) {}
    let _probe = breaker.decide(START + 5 * SECOND);
    for pass in [early, Pass::UNTRACKED] {
        breaker.ended(pass, CallEnding::Succeeded, START + 5 * SECOND);
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn an_origin_that_fails_again_while_calls_increase_is_left_alone_again() {
    let mut breaker = open();
    let now = START + 5 * SECOND;
    for _ in 0..3 {
        assert!(call(&mut breaker, CallEnding::Succeeded, now));
    }
    assert_eq!(breaker.state(), BreakerState::Ramping);
    let sent = std::iter::from_fn(|| call(&mut breaker, FAILED, now).then_some(())).count();
    assert_eq!(sent, 3);
    assert!(matches!(breaker.state(), BreakerState::Open(_)));
}
