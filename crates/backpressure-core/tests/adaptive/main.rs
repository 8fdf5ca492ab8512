//! Where the adaptive limit settles, in a small exact simulation.

use std::time::Duration;

use backpressure_core::{Adaptive, Limit, Outcome, Sample, Timestamp};

use world::{CPU, DEPENDENCY, MIX, Service, World};

mod held;
mod world;

#[test]
fn a_service_that_only_computes_runs_two_at_once() {
    // What two places can do of a fixed service time: one works, one waits, none is read ahead.
    for (load, possible) in [(2.0, 0.93), (5.0, 0.99), (10.0, 0.99), (50.0, 0.99)] {
        let mut world = World::new(CPU);
        world.run(load, 2.0).run(load, 20.0);
        assert!(world.controller.limit() <= 2, "{load}×: limit {}", world.controller.limit());
        assert!(world.goodput(20.0) > possible, "{load}×: goodput {}", world.goodput(20.0));
    }
}

#[test]
fn a_service_that_waits_settles_near_its_knee() {
    for load in [2.0, 5.0, 10.0, 50.0] {
        let mut world = World::new(MIX);
        world.run(load, 2.0).run(load, 20.0);
        let limit = world.controller.limit();
        assert!((11..=17).contains(&limit), "{load}×: limit {limit}");
        assert!(world.goodput(20.0) > 0.97, "{load}×: goodput {}", world.goodput(20.0));
    }
}

#[test]
fn no_request_is_rejected_at_nine_tenths_of_the_capacity() {
    for service in [CPU, MIX, DEPENDENCY] {
        let mut world = World::new(service);
        world.run(0.9, 2_000.0);
        assert_eq!(world.shed, 0, "of {}", world.finished);
    }
}

#[test]
fn no_request_is_rejected_at_low_rates() {
    for service in [CPU, MIX] {
        for rate in [0.1, 1.0, 20.0] {
            let mut world = World::new(service);
            world.run(rate / service.capacity(), 5_000.0 / rate);
            assert_eq!(world.shed, 0, "{rate} a second");
        }
    }
}

#[test]
fn a_hidden_bottleneck_is_found() {
    for load in [2.0, 5.0, 20.0] {
        let mut world = World::new(DEPENDENCY);
        world.run(load, 10.0).run(load, 60.0);
        let limit = world.controller.limit();
        assert!((7..=14).contains(&limit), "{load}×: limit {limit} for eight slots");
        assert!(world.goodput(60.0) > 0.95, "{load}×: goodput {}", world.goodput(60.0));
    }
}

#[test]
fn slower_is_told_from_fuller() {
    // Ten times slower, with as many slots more: the knee moves up. A tenth of the slots: down.
    for (away, slots, knee) in [(0.2, 80, 80), (0.02, 2, 2)] {
        let mut world = World::new(DEPENDENCY);
        world.run(5.0, 20.0);
        world.service = Service { away, slots, ..DEPENDENCY };
        world.run(5.0, 20.0).run(5.0, 20.0);
        let limit = world.controller.limit();
        // One turn in five runs an eighth lower, to compare.
        assert!((knee * 7 / 8..=2 * knee + 3).contains(&limit), "limit {limit} for {slots} slots");
        assert!(world.goodput(20.0) > 0.9, "{slots} slots: goodput {}", world.goodput(20.0));
    }
}

#[test]
fn a_queue_that_stands_is_overload_even_if_no_more_come_than_go() {
    let mut world = World::new(MIX);
    world.run(1.0, 5.0).run(2.0, 0.4);
    let before = world.shed;
    world.run(1.0, 20.0);
    assert_eq!(before, 0, "the burst waits");
    assert!(world.controller.queued() <= 96, "{} still wait", world.controller.queued());
}

#[test]
fn every_move_says_what_it_rests_on() {
    for service in [MIX, DEPENDENCY] {
        let mut world = World::new(service);
        world.run(5.0, 20.0);
        let decision = world.controller.last_change().expect("it has moved");
        assert!(decision.to_string().starts_with("limit "), "{decision}");
        assert_ne!(decision.from, decision.to);
    }
}

#[test]
fn a_sudden_overload_costs_no_goodput_after_a_second() {
    let mut world = World::new(MIX);
    world.run(0.5, 10.0).run(10.0, 1.0).run(10.0, 2.0);
    assert!(world.goodput(2.0) > 0.97, "goodput {}", world.goodput(2.0));
    let (waiting, limit) = (world.controller.queued(), world.controller.limit());
    assert!(waiting <= limit / 2, "{waiting} still wait for {limit} places");
    world.run(0.5, 1.0).run(0.5, 10.0);
    assert_eq!(world.shed, 0, "no request is rejected once it is over");
}

#[test]
fn callers_who_give_up_soon_do_not_keep_the_queue_from_being_seen() {
    for service in [CPU, MIX] {
        for patience in [0.1, 0.2, 0.5, 1.0] {
            for load in [1.5, 2.0, 2.2, 3.0, 10.0] {
                let mut world = World::new(service);
                world.patience = patience;
                world.run(0.5, 0.1).run(load, 1.0).run(load, 10.0);
                let goodput = world.goodput(10.0);
                assert!(goodput > 0.85, "{patience} s, {load}×: goodput {goodput}");
            }
        }
    }
}

#[test]
fn the_limit_falls_where_all_attempts_are_given_up() {
    for load in [5.0, 10.0] {
        let mut world = World::new(DEPENDENCY);
        // Five service times: a caller that finds forty requests before its own gives up in vain.
        world.patience = 0.1;
        world.run(load, 20.0).run(load, 20.0);
        let limit = world.controller.limit();
        assert!((8..=20).contains(&limit), "{load}×: limit {limit} for eight slots");
        assert!(world.goodput(20.0) > 0.85, "{load}×: goodput {}", world.goodput(20.0));
    }
}

#[test]
fn a_wide_pool_is_opened_when_it_is_needed() {
    let service = Service { slots: 500, away: 0.050, ..DEPENDENCY };
    let mut world = World::new(service);
    world.run(0.9, 10.0).run(0.9, 20.0);
    assert_eq!(world.shed, 0, "limit {}", world.controller.limit());
    assert!(world.controller.limit() >= 450, "limit {}", world.controller.limit());
}

#[test]
fn what_costs_no_more_than_a_refusal_is_not_refused_and_does_not_yield() {
    let mut limit = Adaptive::new(1);
    let start = limit.limit();
    let mut now = Timestamp::ZERO;
    for _ in 0..1_000 {
        now = now + Duration::from_micros(10);
        let sample = Sample::new(Duration::from_micros(905), Outcome::Success)
            .run_queue(Duration::from_micros(900))
            .busy(Duration::from_micros(5))
            .in_flight(limit.limit());
        limit.observe(&sample, now);
    }
    assert!(limit.limit() >= start, "limit {}", limit.limit());
    assert!(!limit.yields());
}

const OUTCOMES: [Outcome; 4] =
    [Outcome::Success, Outcome::Overload, Outcome::Ignore, Outcome::Cancelled];

#[test]
fn absurd_samples_do_not_break_the_limit() {
    let mut limit = Adaptive::new(2);
    let spans = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX];
    let mut now = Timestamp::ZERO;
    for round in 0..2_000 {
        for (n, &span) in spans.iter().enumerate() {
            let sample = Sample::new(span, OUTCOMES[round % OUTCOMES.len()])
                .run_queue(spans[(n + round) % 4])
                .busy(spans[(n + round / 4) % 4])
                .in_flight([0, 1, usize::MAX][round % 3])
                .weight([0, 1, u32::MAX][n % 3]);
            limit.observe(&sample, now);
            now = now + Duration::from_millis(1);
            assert!((1..=1_000_000).contains(&limit.limit()), "limit {}", limit.limit());
        }
    }
}
