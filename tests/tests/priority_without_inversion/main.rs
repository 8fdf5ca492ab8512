//! No request is rejected while one of a lower priority is admitted, whatever the phase of arrivals.
//!
//! The controller is driven in virtual time by a service with a fixed service time: one worker that
//! computes, or slots behind an await.

use std::time::Duration;

use backpressure_core::{Adaptive, Fixed, Priority, QueueBounds, Reason, Timestamp};
use fastrand::Rng;

mod service;
use self::service::{Request, Service, State};
mod arrivals;
use self::arrivals::{merged, poisson, regular};

/// The requests that arrived after a time, when the controller has measured the service.
fn arrived_after(requests: &[Request], warm_up: Duration) -> Vec<Request> {
    let arrived =
        requests.iter().filter(|request| request.arrived.since(Timestamp::ZERO) > warm_up);
    arrived.copied().collect()
}

/// Share of the requests of this priority that were served.
fn served(requests: &[Request], priority: Priority) -> f64 {
    let of_class = || requests.iter().filter(|request| request.priority == priority);
    of_class().filter(|request| request.state == State::Served).count() as f64
        / of_class().count() as f64
}

/// Asserts that when a request was rejected for lack of capacity, no request of a lower priority was
/// admitted within `turn`, the time until its own turn, or stayed queued and was admitted later.
fn assert_no_inversion(requests: &[Request], turn: Duration) {
    let lack_of_capacity = [Reason::Limit, Reason::QueueFull, Reason::Displaced];
    for class in [Priority::Critical, Priority::Normal, Priority::Deferrable] {
        let served = |other: &&Request| other.priority < class && other.state == State::Served;
        let mut lower: Vec<_> =
            requests.iter().filter(served).map(|o| (o.arrived, o.decided)).collect();
        lower.sort();
        // For each arrival, the latest admission among the requests that arrived up to then.
        let mut latest = lower.clone();
        for index in 1..latest.len() {
            latest[index].1 = latest[index].1.max(latest[index - 1].1);
        }
        lower.sort_by_key(|&(_, admitted)| admitted);
        for request in requests.iter().filter(|request| request.priority == class) {
            let State::Rejected(reason) = request.state else { continue };
            if !lack_of_capacity.contains(&reason) {
                continue;
            }
            let at = request.decided;
            let next = lower.get(lower.partition_point(|&(_, admitted)| admitted <= at));
            let admitted = next.filter(|&&(_, admitted)| admitted < at + turn);
            assert!(admitted.is_none(), "{request:?} was rejected, {admitted:?} was admitted");
            let before = latest[..latest.partition_point(|&(arrived, _)| arrived < at)].last();
            let waited = before.filter(|&&(_, admitted)| admitted > at);
            assert!(waited.is_none(), "{request:?} was rejected, {waited:?} stayed queued");
        }
    }
}

const WORK: Duration = Duration::from_millis(5);

#[test]
fn higher_priorities_in_phase_are_served_before_a_flood_of_sheddable_requests() {
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
        assert!(share(Priority::Sheddable) > 0.13, "{name}: remaining capacity is used");
        assert_no_inversion(&requests, WORK);
    }
}

#[test]
fn a_priority_that_exceeds_the_capacity_by_itself_leaves_nothing_to_lower_ones() {
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
        let later = arrived_after(&requests, Duration::from_secs(5));
        let share = |priority| served(&later, priority);
        println!(
            "{limit}: critical {:.3}, normal {:.3}, sheddable {:.3}",
            share(Priority::Critical),
            share(Priority::Normal),
            share(Priority::Sheddable)
        );
        assert!(share(Priority::Critical) > 0.47, "{limit}: capacity for half of them");
        assert!(share(Priority::Normal) < 0.03 && share(Priority::Sheddable) < 0.03);
        assert_no_inversion(&later, WORK);
    }
}

#[test]
fn without_a_queue_no_lower_priority_is_admitted_after_a_higher_one_was_rejected() {
    let mut rng = Rng::with_seed(11);
    for limit in 1..=4 {
        let arrivals = merged(vec![
            poisson(20.0, 30.0, &mut rng, Priority::Critical),
            poisson(20.0, 30.0, &mut rng, Priority::Normal),
            poisson(800.0, 30.0, &mut rng, Priority::Sheddable),
        ]);
        let service = Service::new(Fixed::new(limit), QueueBounds::NONE, limit, WORK);
        let requests = service.play(&arrivals);
        let later = arrived_after(&requests, Duration::from_secs(1));
        assert_no_inversion(&later, WORK / limit as u32);
    }
}

#[test]
fn no_mix_of_priorities_and_rates_is_served_with_inversion() {
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
        let measured = arrived_after(&requests, Duration::from_secs(2));
        println!("seed {seed}: {limit} × {time:?}");
        // The measured rates are accurate to about a per cent.
        assert_no_inversion(&measured, time.mul_f64(0.9 / limit as f64));
    }
}

#[test]
fn a_reserved_share_keeps_a_lower_priority_from_starving_and_costs_a_higher_one_no_more() {
    // Ten permits of 50 ms: 200 requests a second.
    let time = Duration::from_millis(50);
    for (critical, percent, expected) in
        [(400.0, 0, 0.0), (400.0, 5, 0.05), (400.0, 20, 0.2), (1_000.0, 5, 0.05)]
    {
        let mut rng = Rng::with_seed(7);
        let arrivals = merged(vec![
            poisson(critical, 60.0, &mut rng, Priority::Critical),
            poisson(300.0, 60.0, &mut rng, Priority::Sheddable),
        ]);
        let mut service = Service::new(Fixed::new(10), QueueBounds::default(), 10, time);
        service.controller.reserve_share(Priority::Sheddable, percent);
        let requests = arrived_after(&service.play(&arrivals), Duration::from_secs(10));
        let all = requests.iter().filter(|it| it.state == State::Served).count() as f64;
        let low = requests.iter().filter(|it| it.priority == Priority::Sheddable);
        let share = low.filter(|it| it.state == State::Served).count() as f64 / all;
        println!("{critical}/s, {percent} %: {share:.4} of {:.1} a second", all / 50.0);
        assert!((share - expected).abs() < 0.005, "{percent} %: {share}");
        assert!(all / 50.0 > 198.0, "no capacity is lost: {}", all / 50.0);
    }
}

#[test]
fn a_critical_class_that_fits_beside_the_reserved_share_is_served_completely() {
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let arrivals = merged(vec![
            poisson(170.0, 60.0, &mut rng, Priority::Critical),
            poisson(600.0, 60.0, &mut rng, Priority::Normal),
            poisson(600.0, 60.0, &mut rng, Priority::Sheddable),
        ]);
        let time = Duration::from_millis(50);
        let mut service = Service::new(Fixed::new(10), QueueBounds::default(), 10, time);
        service.controller.reserve_share(Priority::Sheddable, 5);
        let requests = arrived_after(&service.play(&arrivals), Duration::from_secs(10));
        let share = |priority| served(&requests, priority);
        println!(
            "seed {seed}: critical {:.5}, normal {:.4}, sheddable {:.4}",
            share(Priority::Critical),
            share(Priority::Normal),
            share(Priority::Sheddable)
        );
        assert!(share(Priority::Critical) >= 1.0, "seed {seed}");
        assert!(share(Priority::Sheddable) > 0.016, "seed {seed}: its share of 200 a second");
    }
}
