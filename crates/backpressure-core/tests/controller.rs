//! The promises of the controller, for any order of events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use backpressure_core::{
    Controller, Decision, Dequeued, Fixed, Limit, Outcome, Priority, QueueBounds, RequestInfo,
    Sample, Shed, Ticket, Timestamp,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Arrive { priority: Priority, deadline_ms: Option<u64> },
    Complete { latency_us: u64, outcome: Outcome },
    Abandon(usize),
    Expire(usize),
    ReplaceLimit(usize),
    Wait(u64),
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
            .prop_map(|(priority, deadline_ms)| Event::Arrive { priority, deadline_ms }),
        5 => (any::<u64>(), outcome)
            .prop_map(|(latency_us, outcome)| Event::Complete { latency_us, outcome }),
        1 => any::<usize>().prop_map(Event::Abandon),
        1 => any::<usize>().prop_map(Event::Expire),
        1 => (1..10usize).prop_map(Event::ReplaceLimit),
        3 => (0..500u64).prop_map(Event::Wait),
    ]
}

/// Drives a controller, and compares it with its own record of what is queued and in flight.
struct Driver {
    controller: Controller,
    max_len: usize,
    in_flight: usize,
    queued: Vec<Ticket>,
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
            queued: Vec::new(),
            decided: HashSet::new(),
            now: Timestamp::ZERO,
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive { priority, deadline_ms } => self.arrive(priority, deadline_ms),
            Event::Complete { latency_us, outcome } => self.complete(latency_us, outcome),
            Event::Abandon(n) => {
                if let Some(ticket) = self.pick(n) {
                    assert!(self.controller.abandon(ticket, self.now), "{ticket:?} was queued");
                    assert!(
                        !self.controller.abandon(ticket, self.now),
                        "a request is abandoned once"
                    );
                }
            }
            Event::Expire(n) => {
                if let Some(ticket) = self.pick(n) {
                    Self::check(self.controller.expire(ticket, self.now).expect("was queued"));
                    assert!(self.controller.expire(ticket, self.now).is_none());
                }
            }
            Event::ReplaceLimit(limit) => {
                self.controller.replace_limit(Box::new(Fixed::new(limit)))
            }
            Event::Wait(millis) => self.now = self.now + Duration::from_millis(millis),
        }
        self.settle();
    }

    fn arrive(&mut self, priority: Priority, deadline_ms: Option<u64>) {
        let deadline = deadline_ms.map(|millis| self.now + Duration::from_millis(millis));
        let info = RequestInfo::default().priority(priority);
        let info = deadline.map_or(info, |deadline| info.deadline(deadline));
        match self.controller.arrive(info, self.in_flight, self.now) {
            Decision::Run => {
                assert!(self.in_flight < self.controller.limit());
                self.in_flight += 1;
            }
            Decision::Queue(ticket, until) => {
                assert!(until >= self.now && until <= self.now + Duration::from_secs(1));
                self.queued.push(ticket);
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
            let index = self.queued.iter().position(|&known| known == ticket);
            self.queued.remove(index.expect("only a queued request is decided"));
            assert!(self.decided.insert(ticket), "{ticket:?} is decided once");
            if runs {
                assert!(self.in_flight < self.controller.limit(), "the limit holds");
                self.in_flight += 1;
            }
        }
        assert_eq!(self.controller.queued(), self.queued.len());
        assert!(self.queued.len() <= self.max_len, "the queue is bounded");
        let idle = self.in_flight < self.controller.limit();
        assert!(!idle || self.queued.is_empty(), "no request is queued while a permit is free");
    }

    fn pick(&mut self, n: usize) -> Option<Ticket> {
        let index = n.checked_rem(self.queued.len())?;
        Some(self.queued.remove(index))
    }

    fn check(shed: Shed) {
        assert!(shed.retry_after > Duration::ZERO, "every rejection says when to come back");
        assert!(shed.retry_after <= Duration::from_secs(60), "within a minute");
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
fn a_request_of_higher_priority_runs_first_even_if_it_arrived_last() {
    let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
    let now = Timestamp::ZERO;
    let queue = |controller: &mut Controller, priority| match controller.arrive(
        RequestInfo::default().priority(priority),
        1,
        now,
    ) {
        Decision::Queue(ticket, _) => ticket,
        other => panic!("the queue has room: {other:?}"),
    };
    let page = queue(&mut controller, Priority::Normal);
    let payment = queue(&mut controller, Priority::Critical);
    assert_eq!(controller.next(0, now), Some(Dequeued::Run(payment)));
    assert_eq!(controller.next(0, now), Some(Dequeued::Run(page)));
}

#[test]
fn a_request_that_cannot_meet_its_deadline_is_rejected_at_once() {
    let mut controller = Controller::new(Box::new(Fixed::new(1)), QueueBounds::default());
    let now = Timestamp::ZERO;
    controller.complete(&Sample::new(Duration::from_millis(100), Outcome::Success), now);
    let within = |millis| RequestInfo::default().deadline(now + Duration::from_millis(millis));
    // One is in flight: 100 ms until it ends, then 100 ms of work.
    assert!(matches!(controller.arrive(within(150), 1, now), Decision::Reject(_)));
    assert!(matches!(controller.arrive(within(250), 1, now), Decision::Queue(..)));
}

/// A limit of two, for requests that are queued for workers.
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
fn a_request_queued_for_a_worker_behind_newer_ones_is_not_run_in_the_next_pause_of_arrivals() {
    let mut controller = Controller::new(Box::new(Two), QueueBounds::default());
    let (mut in_flight, mut arrived) = (0, HashMap::new());
    let mut longest = Duration::ZERO;
    for half_ms in 0..20_000u64 {
        let now = Timestamp::from_nanos(half_ms * 500_000);
        // Two arrive in 5 ms, twice what the worker can do, except in a pause of 50 ms each half second.
        if half_ms % 5 == 0 && half_ms % 1_000 >= 100 {
            match controller.arrive(RequestInfo::default(), in_flight, now) {
                Decision::Run => in_flight += 1,
                Decision::Queue(ticket, _) => _ = arrived.insert(ticket, now),
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
                longest = longest.max(now.since(arrived[&ticket]));
            }
        }
    }
    assert!(longest > Duration::from_millis(5), "queued requests run in the pause: {longest:?}");
    assert!(longest <= Duration::from_millis(15), "those that arrived last: {longest:?}");
}

#[test]
fn requests_run_in_order_where_others_are_rejected_before_they_come() {
    // Four permits of 10 ms each, and three times what they can do, of which two of three are rejected before they come,
    // from the second second on.
    let mut controller = Controller::new(Box::new(Fixed::new(4)), QueueBounds::default());
    let (info, mut in_flight, mut arrived) = (RequestInfo::default(), 0, HashMap::new());
    for tick in 0..3_600_u32 {
        let now = Timestamp::ZERO + Duration::from_millis(10) / 12 * tick;
        if tick > 1_200 && tick % 3 != 0 {
            let _ = controller.reject_early(&info, in_flight, now);
        } else {
            match controller.arrive(info, in_flight, now) {
                Decision::Run => in_flight += 1,
                Decision::Queue(ticket, _) => _ = arrived.insert(ticket, now),
                Decision::Reject(_) => {}
            }
        }
        if tick > 12 && tick % 3 == 2 {
            let sample = Sample::new(Duration::from_millis(10), Outcome::Success);
            controller.complete(&sample.in_flight(in_flight), now);
            in_flight -= 1;
        }
        while let Some(next) = controller.next(in_flight, now) {
            let (Dequeued::Run(ticket) | Dequeued::Reject(ticket, _)) = next;
            let queued = now.since(arrived.remove(&ticket).expect("it was queued"));
            match next {
                Dequeued::Run(_) => in_flight += 1,
                Dequeued::Reject(..) => continue,
            }
            let in_order = arrived.values().all(|&other| now.since(other) <= queued);
            assert!(in_order || tick <= 1_300, "newest first at tick {tick}");
        }
    }
    assert!(!arrived.is_empty(), "some are queued, or there is no order");
}

/// A limit that rises with each attempt and is not known to protect the service.
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
fn while_a_limit_rises_that_is_not_known_to_protect_the_service_no_request_is_displaced() {
    let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
    let mut controller = Controller::new(Box::new(Rising(1)), QueueBounds::default());
    let latency = Duration::from_millis(10);
    let sample = Sample::new(latency, Outcome::Success).busy(latency);
    let mut in_flight = 0;
    for millis in 0..500 {
        if millis % 50 == 0 {
            controller.complete(&sample, at(millis));
        }
        let decision = controller.arrive(RequestInfo::default(), in_flight, at(millis));
        assert!(!matches!(decision, Decision::Reject(_)), "rejected after {millis} ms");
        in_flight += usize::from(decision == Decision::Run);
        while let Some(next) = controller.next(in_flight, at(millis)) {
            assert!(matches!(next, Dequeued::Run(_)), "displaced after {millis} ms");
            in_flight += 1;
        }
    }
}
