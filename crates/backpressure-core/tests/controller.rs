//! What the controller promises, whatever happens in whatever order.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backpressure_core::{
    Controller, Decision, Dequeued, Fixed, Limit, Outcome, Priority, QueueBounds, RequestInfo,
    Sample, Shed, Ticket, Timestamp,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Arrive { priority: Priority, patience_ms: Option<u64> },
    Depart { latency_us: u64, outcome: Outcome },
    GiveUp(usize),
    TimeIsUp(usize),
    Limit(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let priority = prop_oneof![
        Just(Priority::Sheddable),
        Just(Priority::Deferrable),
        Just(Priority::Normal),
        Just(Priority::Critical)
    ];
    let outcome =
        prop_oneof![Just(Outcome::Success), Just(Outcome::Overload), Just(Outcome::Ignore)];
    prop_oneof![
        6 => (priority, proptest::option::of(0..2_000u64))
            .prop_map(|(priority, patience_ms)| Event::Arrive { priority, patience_ms }),
        5 => (any::<u64>(), outcome)
            .prop_map(|(latency_us, outcome)| Event::Depart { latency_us, outcome }),
        1 => any::<usize>().prop_map(Event::GiveUp),
        1 => any::<usize>().prop_map(Event::TimeIsUp),
        1 => (1..10usize).prop_map(Event::Limit),
        3 => (0..500u64).prop_map(Event::Pass),
    ]
}

/// A driver that keeps its own books and compares.
struct Driver {
    controller: Controller,
    max_len: usize,
    in_flight: usize,
    waiting: Vec<Ticket>,
    decided: HashSet<Ticket>,
    now: Timestamp,
}

impl Driver {
    fn new(max_len: usize) -> Self {
        let bounds = QueueBounds::new(max_len, Duration::from_secs(1));
        Self {
            controller: Controller::new(Box::new(Fixed::new(3)), bounds),
            max_len,
            in_flight: 0,
            waiting: Vec::new(),
            decided: HashSet::new(),
            now: Timestamp::ZERO,
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive { priority, patience_ms } => self.arrive(priority, patience_ms),
            Event::Depart { latency_us, outcome } => self.complete(latency_us, outcome),
            Event::GiveUp(n) => {
                if let Some(ticket) = self.pick(n) {
                    assert!(self.controller.abandon(ticket), "{ticket:?} was waiting");
                    assert!(!self.controller.abandon(ticket), "a place is given up once");
                }
            }
            Event::TimeIsUp(n) => {
                if let Some(ticket) = self.pick(n) {
                    Self::check(self.controller.expire(ticket, self.now).expect("was waiting"));
                    assert!(self.controller.expire(ticket, self.now).is_none());
                }
            }
            Event::Limit(limit) => self.controller.replace_limit(Box::new(Fixed::new(limit))),
            Event::Pass(millis) => self.now = self.now + Duration::from_millis(millis),
        }
        self.settle();
    }

    fn arrive(&mut self, priority: Priority, patience_ms: Option<u64>) {
        let deadline = patience_ms.map(|millis| self.now + Duration::from_millis(millis));
        let info = RequestInfo::default().priority(priority);
        let info = deadline.map_or(info, |deadline| info.deadline(deadline));
        match self.controller.arrive(info, self.in_flight, self.now) {
            Decision::Run => {
                assert!(self.in_flight < self.controller.limit());
                self.in_flight += 1;
            }
            Decision::Queue(ticket, until) => {
                assert!(until >= self.now && until <= self.now + Duration::from_secs(1));
                self.waiting.push(ticket);
            }
            Decision::Reject(shed) => Self::check(shed),
        }
    }

    fn complete(&mut self, latency_us: u64, outcome: Outcome) {
        if self.in_flight > 0 {
            let latency = Duration::from_micros(latency_us);
            let sample = Sample::new(latency, outcome).in_flight(self.in_flight);
            self.in_flight -= 1;
            self.controller.complete(&sample, self.now);
        }
    }

    fn settle(&mut self) {
        while let Some(next) = self.controller.next(self.in_flight, self.now) {
            let (ticket, runs) = match next {
                Dequeued::Run(ticket) => (ticket, true),
                Dequeued::Reject(ticket, shed) => {
                    Self::check(shed);
                    (ticket, false)
                }
            };
            let place = self.waiting.iter().position(|&known| known == ticket);
            self.waiting.remove(place.expect("only who waits is called"));
            assert!(self.decided.insert(ticket), "{ticket:?} is decided once");
            if runs {
                assert!(self.in_flight < self.controller.limit(), "the limit holds");
                self.in_flight += 1;
            }
        }
        assert_eq!(self.controller.queued(), self.waiting.len());
        assert!(self.waiting.len() <= self.max_len, "the queue is bounded");
        let idle = self.in_flight < self.controller.limit();
        assert!(!idle || self.waiting.is_empty(), "nobody waits for a place that is free");
    }

    fn pick(&mut self, n: usize) -> Option<Ticket> {
        let index = n.checked_rem(self.waiting.len())?;
        Some(self.waiting.remove(index))
    }

    fn check(shed: Shed) {
        assert!(shed.retry_after > Duration::ZERO, "every refusal says when to come back");
        assert!(shed.retry_after <= Duration::from_secs(60), "and never asks for ages");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_order_of_events_breaks_the_books(
        max_len in 0..6usize,
        events in proptest::collection::vec(event(), 1..400),
    ) {
        let mut driver = Driver::new(max_len);
        for event in events {
            driver.step(event);
        }
    }
}

#[test]
fn a_higher_class_runs_first_even_when_it_came_last() {
    let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
    let now = Timestamp::ZERO;
    let enter = |controller: &mut Controller, priority| match controller.arrive(
        RequestInfo::default().priority(priority),
        1,
        now,
    ) {
        Decision::Queue(ticket, _) => ticket,
        other => panic!("the queue has room: {other:?}"),
    };
    let page = enter(&mut controller, Priority::Normal);
    let payment = enter(&mut controller, Priority::Critical);
    assert_eq!(controller.next(0, now), Some(Dequeued::Run(payment)));
    assert_eq!(controller.next(0, now), Some(Dequeued::Run(page)));
}

#[test]
fn what_cannot_be_answered_in_time_does_not_wait() {
    let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
    let now = Timestamp::ZERO;
    controller.complete(&Sample::new(Duration::from_millis(100), Outcome::Success), now);
    let within = |millis| RequestInfo::default().deadline(now + Duration::from_millis(millis));
    // One is in flight: a turn of 100 ms, then 100 ms of service.
    assert!(matches!(controller.arrive(within(150), 1, now), Decision::Reject(_)));
    assert!(matches!(controller.arrive(within(250), 1, now), Decision::Queue(..)));
}

/// Two at once, of requests that compute.
#[derive(Debug)]
struct Two;

impl Limit for Two {
    fn limit(&self) -> usize {
        2
    }

    fn observe(&mut self, _: &Sample, _: Timestamp) {}

    fn yields(&self) -> bool {
        true
    }
}

#[test]
fn whoever_waits_for_a_worker_in_vain_is_not_served_in_the_next_lull() {
    let mut controller = Controller::new(Box::new(Two), QueueBounds::default());
    let (mut in_flight, mut came) = (0, HashMap::new());
    let mut longest = Duration::ZERO;
    for half_ms in 0..20_000u64 {
        let now = Timestamp::from_nanos(half_ms * 500_000);
        // Two in 5 ms, which is twice what one worker does, but for a lull of 50 ms now and then.
        if half_ms % 5 == 0 && half_ms % 1_000 >= 100 {
            match controller.arrive(RequestInfo::default(), in_flight, now) {
                Decision::Run => in_flight += 1,
                Decision::Queue(ticket, _) => _ = came.insert(ticket, now),
                Decision::Reject(_) => {}
            }
        }
        if half_ms % 10 == 9 && in_flight > 0 {
            let busy = Duration::from_millis(5);
            let latency = Duration::from_millis(10);
            let sample = Sample::new(latency, Outcome::Success).busy(busy).in_flight(in_flight);
            controller.complete(&sample, now);
            in_flight -= 1;
        }
        while let Some(next) = controller.next(in_flight, now) {
            let Dequeued::Run(ticket) = next else { continue };
            in_flight += 1;
            if half_ms > 4_000 {
                longest = longest.max(now.since(came[&ticket]));
            }
        }
    }
    assert!(longest > Duration::from_millis(5), "the lull is filled: {longest:?}");
    assert!(longest <= Duration::from_millis(15), "by those who came of late: {longest:?}");
}

/// A limit that rises with each attempt and has measured no queue yet.
#[derive(Debug)]
struct Rising(usize);

impl Limit for Rising {
    fn limit(&self) -> usize {
        self.0
    }

    fn observe(&mut self, _sample: &Sample, _now: Timestamp) {
        self.0 += 1;
    }

    fn is_known(&self) -> bool {
        false
    }

    fn yields(&self) -> bool {
        true
    }
}

#[test]
fn while_a_limit_rises_that_is_not_known_to_protect_anything_no_waiting_request_is_displaced() {
    let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
    let mut controller = Controller::new(Box::new(Rising(1)), QueueBounds::default());
    let latency = Duration::from_millis(10);
    let sample = Sample::new(latency, Outcome::Success).busy(latency);
    let mut in_flight = 0;
    for millis in 0..500 {
        if millis % 50 == 0 {
            controller.complete(&sample, at(millis));
        }
        let verdict = controller.arrive(RequestInfo::default(), in_flight, at(millis));
        assert!(!matches!(verdict, Decision::Reject(_)), "refused after {millis} ms");
        in_flight += usize::from(verdict == Decision::Run);
        while let Some(next) = controller.next(in_flight, at(millis)) {
            assert!(matches!(next, Dequeued::Run(_)), "displaced after {millis} ms");
            in_flight += 1;
        }
    }
}
