//! No class is refused while a lower one is admitted, whatever the phase of arrivals.
//!
//! The controller is driven in virtual time by a service with a fixed service time: one worker that
//! computes, or slots behind an await.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use backpressure_core::{
    Adaptive, Controller, Decision, Dequeued, Fixed, Limit, Outcome, Priority, QueueBounds, Reason,
    RequestInfo, Sample, Ticket, Timestamp,
};
use fastrand::Rng;

/// What a request experienced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Waiting,
    Running { since: Timestamp, in_flight: usize },
    Served,
    Rejected(Reason),
}

#[derive(Clone, Copy, Debug)]
struct Request {
    priority: Priority,
    came: Timestamp,
    /// When it was admitted or refused.
    decided: Timestamp,
    fate: Fate,
}

/// A service behind a controller.
struct Service {
    controller: Controller,
    /// How many are worked on at once; the others wait for a worker, in order of admission.
    workers: usize,
    time: Duration,
    requests: Vec<Request>,
    waiting: HashMap<Ticket, (usize, Timestamp)>,
    admitted: VecDeque<usize>,
    busy: Vec<(Timestamp, usize)>,
    in_flight: usize,
    now: Timestamp,
}

impl Service {
    fn new(
        limit: impl Limit + 'static,
        bounds: QueueBounds,
        workers: usize,
        time: Duration,
    ) -> Self {
        Self {
            controller: Controller::new(Box::new(limit), bounds),
            workers,
            time,
            requests: Vec::new(),
            waiting: HashMap::new(),
            admitted: VecDeque::new(),
            busy: Vec::new(),
            in_flight: 0,
            now: Timestamp::ZERO,
        }
    }

    /// Lets all that comes happen in order: those who come are sorted by time.
    fn play(mut self, arrivals: &[(Timestamp, Priority)]) -> Vec<Request> {
        for &(at, priority) in arrivals {
            self.until(at);
            self.now = at;
            self.arrive(priority);
        }
        self.until(self.now + Duration::from_secs(10));
        self.requests
    }

    fn until(&mut self, end: Timestamp) {
        loop {
            let done = self.busy.iter().map(|&(at, _)| at).min();
            let expires = self.waiting.values().map(|&(_, until)| until).min();
            let Some(at) = done.into_iter().chain(expires).min().filter(|&at| at <= end) else {
                return;
            };
            self.now = self.now.max(at);
            if done == Some(at) {
                let index = self.busy.iter().position(|&(when, _)| when == at).expect("just seen");
                let (_, id) = self.busy.swap_remove(index);
                self.complete(id);
            } else {
                let ticket = self.waiting.iter().find(|(_, (_, until))| *until == at);
                let (&ticket, &(id, _)) = ticket.expect("just seen");
                self.waiting.remove(&ticket);
                let shed = self.controller.expire(ticket, self.now).expect("it was waiting");
                self.decide(id, Fate::Rejected(shed.reason));
            }
            self.settle();
        }
    }

    fn arrive(&mut self, priority: Priority) {
        let id = self.requests.len();
        let (came, decided) = (self.now, self.now);
        self.requests.push(Request { priority, came, decided, fate: Fate::Waiting });
        let info = RequestInfo::default().priority(priority);
        match self.controller.arrive(info, self.in_flight, self.now) {
            Decision::Run => self.run(id),
            Decision::Queue(ticket, until) => _ = self.waiting.insert(ticket, (id, until)),
            Decision::Reject(shed) => self.decide(id, Fate::Rejected(shed.reason)),
        }
        self.settle();
    }

    fn run(&mut self, id: usize) {
        self.in_flight += 1;
        self.decide(id, Fate::Running { since: self.now, in_flight: self.in_flight });
        self.admitted.push_back(id);
        self.work();
    }

    fn work(&mut self) {
        while self.busy.len() < self.workers {
            let Some(id) = self.admitted.pop_front() else { return };
            self.busy.push((self.now + self.time, id));
        }
    }

    fn complete(&mut self, id: usize) {
        let Fate::Running { since, in_flight } = self.requests[id].fate else {
            panic!("only what runs ends");
        };
        let latency = self.now.since(since);
        let (run_queue, busy) = (latency - self.time, self.time);
        let sample = Sample::new(latency, Outcome::Success)
            .run_queue(run_queue)
            .busy(busy)
            .in_flight(in_flight);
        self.controller.complete(&sample, self.now);
        self.in_flight -= 1;
        self.requests[id].fate = Fate::Served;
        self.work();
    }

    fn settle(&mut self) {
        while let Some(next) = self.controller.next(self.in_flight, self.now) {
            match next {
                Dequeued::Run(ticket) => {
                    let (id, _) = self.waiting.remove(&ticket).expect("it was waiting");
                    self.run(id);
                }
                Dequeued::Reject(ticket, shed) => {
                    let (id, _) = self.waiting.remove(&ticket).expect("it was waiting");
                    self.decide(id, Fate::Rejected(shed.reason));
                }
            }
        }
    }

    fn decide(&mut self, id: usize, fate: Fate) {
        self.requests[id].decided = self.now;
        self.requests[id].fate = fate;
    }
}

/// Share of the requests of a class that were served.
fn served(requests: &[Request], priority: Priority) -> f64 {
    let of_class = || requests.iter().filter(|request| request.priority == priority);
    of_class().filter(|request| request.fate == Fate::Served).count() as f64
        / of_class().count() as f64
}

/// `rate` arrivals a second, in phase with all others that have a whole number of them a second.
fn regular(
    rate: u64,
    seconds: u64,
    offset_us: u64,
    priority: Priority,
) -> Vec<(Timestamp, Priority)> {
    let at = |n| Timestamp::from_nanos(offset_us * 1_000 + n * 1_000_000_000 / rate);
    (0..rate * seconds).map(|n| (at(n), priority)).collect()
}

fn poisson(
    rate: f64,
    seconds: f64,
    rng: &mut Rng,
    priority: Priority,
) -> Vec<(Timestamp, Priority)> {
    let mut at = 0.0;
    std::iter::from_fn(|| {
        at -= (1.0 - rng.f64()).ln() / rate;
        (at < seconds).then(|| (Timestamp::ZERO + Duration::from_secs_f64(at), priority))
    })
    .collect()
}

fn merged(streams: Vec<Vec<(Timestamp, Priority)>>) -> Vec<(Timestamp, Priority)> {
    let mut all = streams.concat();
    // Stable: of one instant, the first stream comes first.
    all.sort_by_key(|&(at, _)| at);
    all
}

/// Asserts that nothing was admitted or left waiting below a request that was refused for want of
/// room: neither at that moment nor until it would have had its turn.
fn assert_no_inversion(requests: &[Request], turn: Duration) {
    let room = [Reason::Limit, Reason::QueueFull, Reason::Displaced];
    for class in [Priority::Critical, Priority::Normal, Priority::Deferrable] {
        let served = |other: &&Request| other.priority < class && other.fate == Fate::Served;
        let mut lower: Vec<_> =
            requests.iter().filter(served).map(|o| (o.came, o.decided)).collect();
        lower.sort();
        // The latest admission of those that came up to then.
        let mut latest = lower.clone();
        for index in 1..latest.len() {
            latest[index].1 = latest[index].1.max(latest[index - 1].1);
        }
        lower.sort_by_key(|&(_, admitted)| admitted);
        for request in requests.iter().filter(|request| request.priority == class) {
            let Fate::Rejected(reason) = request.fate else { continue };
            if !room.contains(&reason) {
                continue;
            }
            let at = request.decided;
            let next = lower.get(lower.partition_point(|&(_, admitted)| admitted <= at));
            let admitted = next.filter(|&&(_, admitted)| admitted < at + turn);
            assert!(admitted.is_none(), "{request:?} was refused, {admitted:?} was admitted");
            let before = latest[..latest.partition_point(|&(came, _)| came < at)].last();
            let waited = before.filter(|&&(_, admitted)| admitted > at);
            assert!(waited.is_none(), "{request:?} was refused, {waited:?} went on waiting");
        }
    }
}

const WORK: Duration = Duration::from_millis(5);

#[test]
fn classes_in_phase_are_served_before_a_flood_of_sheddable_requests() {
    for (name, offset_us, limit) in [
        ("in phase, adaptive", 0, None),
        ("1 ms apart, adaptive", 1_000, None),
        ("12 ms apart, adaptive", 12_000, None),
        ("in phase, one at once", 0, Some(1)),
        ("in phase, two at once", 0, Some(2)),
        ("in phase, eight at once", 0, Some(8)),
    ] {
        let arrivals = merged(vec![
            regular(800, 30, 0, Priority::Sheddable),
            regular(40, 30, 0, Priority::Critical),
            regular(40, 30, offset_us, Priority::Normal),
        ]);
        let bounds = QueueBounds::default();
        let requests = match limit {
            None => Service::new(Adaptive::new(1), bounds, 1, WORK).play(&arrivals),
            Some(limit) => Service::new(Fixed::new(limit), bounds, 1, WORK).play(&arrivals),
        };
        let share = |priority| served(&requests, priority);
        println!(
            "{name}: critical {:.3}, normal {:.3}, sheddable {:.3}",
            share(Priority::Critical),
            share(Priority::Normal),
            share(Priority::Sheddable)
        );
        assert!(share(Priority::Critical) >= 1.0, "{name}");
        assert!(share(Priority::Normal) >= 1.0, "{name}");
        assert!(share(Priority::Sheddable) > 0.13, "{name}: what is left is used");
        assert_no_inversion(&requests, WORK);
    }
}

#[test]
fn a_class_that_is_overloaded_by_itself_leaves_nothing_to_lower_ones_and_is_not_late() {
    let mut rng = Rng::with_seed(7);
    for limit in [1, 4, 16] {
        let time = WORK * limit;
        let arrivals = merged(vec![
            poisson(400.0, 30.0, &mut rng, Priority::Critical),
            poisson(400.0, 30.0, &mut rng, Priority::Normal),
            poisson(50.0, 30.0, &mut rng, Priority::Sheddable),
        ]);
        let slots = limit as usize;
        let service = Service::new(Fixed::new(slots), QueueBounds::default(), slots, time);
        let requests = service.play(&arrivals);
        let later: Vec<_> = requests
            .iter()
            .filter(|request| request.came.since(Timestamp::ZERO).as_secs() >= 5)
            .copied()
            .collect();
        let share = |priority| served(&later, priority);
        println!(
            "{limit}: critical {:.3}, normal {:.3}, sheddable {:.3}",
            share(Priority::Critical),
            share(Priority::Normal),
            share(Priority::Sheddable)
        );
        assert!(share(Priority::Critical) > 0.47, "{limit}: half of it can be served");
        assert!(share(Priority::Normal) < 0.03 && share(Priority::Sheddable) < 0.03);
        assert_no_inversion(&later, WORK);
    }
}

#[test]
fn without_a_queue_a_lower_class_does_not_take_the_place_a_higher_one_was_refused() {
    let mut rng = Rng::with_seed(11);
    for limit in 1..=4 {
        let arrivals = merged(vec![
            poisson(20.0, 30.0, &mut rng, Priority::Critical),
            poisson(20.0, 30.0, &mut rng, Priority::Normal),
            poisson(800.0, 30.0, &mut rng, Priority::Sheddable),
        ]);
        let service = Service::new(Fixed::new(limit), QueueBounds::NONE, limit, WORK);
        let requests = service.play(&arrivals);
        let later: Vec<_> = requests
            .iter()
            .filter(|request| request.came.since(Timestamp::ZERO).as_secs() >= 1)
            .copied()
            .collect();
        assert_no_inversion(&later, WORK / limit as u32);
    }
}

#[test]
fn no_mix_of_classes_and_rates_is_served_upside_down() {
    let classes = [Priority::Critical, Priority::Normal, Priority::Deferrable, Priority::Sheddable];
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let limit = rng.usize(1..=8);
        let time = Duration::from_millis(rng.u64(1..=40));
        let capacity = limit as f64 / time.as_secs_f64();
        let bounds = QueueBounds::new(rng.usize(0..40), Duration::from_secs(1));
        let streams = classes.map(|class| {
            let rate = capacity * rng.f64() * if rng.bool() { 3.0 } else { 0.3 };
            if rng.bool() {
                regular((rate as u64).max(1), 10, 0, class)
            } else {
                poisson(rate, 10.0, &mut rng, class)
            }
        });
        let arrivals = merged(streams.into());
        let requests = Service::new(Fixed::new(limit), bounds, limit, time).play(&arrivals);
        let measured: Vec<_> = requests
            .iter()
            .filter(|request| request.came.since(Timestamp::ZERO) > Duration::from_secs(2))
            .copied()
            .collect();
        println!("seed {seed}: {limit} × {time:?}");
        // Measured rates are right to a per cent or so.
        assert_no_inversion(&measured, time.mul_f64(0.9 / limit as f64));
    }
}
