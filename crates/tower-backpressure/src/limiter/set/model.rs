//! Every interleaving of two limiters that borrow from each other, explored by loom.

use std::sync::Arc;

use backpressure_core::{QueueBounds, RequestInfo, Timestamp};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Part, Set};
use crate::limiter::Limiter;
use crate::limiter::state::Answer;

const NOW: Timestamp = Timestamp::ZERO;

/// Two limiters with one unit each of a total of `total`.
fn pair(total: usize, lends: usize) -> (Limiter, Limiter) {
    let set = Set::new(total);
    let part = Part { guaranteed: 1, max: 10, lends, queue: QueueBounds::NONE };
    let add = || set.add(part).expect("it fits");
    (add(), add())
}

/// Runs if it is admitted; whether it was.
fn request(limiter: &Limiter, running: &AtomicUsize, total: usize) -> bool {
    let Answer::Run(_) = limiter.shared.request(RequestInfo::default(), NOW) else { return false };
    let now_running = running.fetch_add(1, Ordering::AcqRel) + 1;
    assert!(now_running <= total, "{now_running} of {total} run");
    running.fetch_sub(1, Ordering::AcqRel);
    limiter.shared.leave(|| NOW);
    true
}

#[test]
fn two_limiters_never_use_more_than_the_total_together() {
    loom::model(|| {
        let (one, other) = pair(2, 100);
        let running = Arc::new(AtomicUsize::new(0));
        let (shared, counted) = (one.clone(), Arc::clone(&running));
        let task = thread::spawn(move || {
            // It holds its own unit and asks for another one.
            let Answer::Run(_) = shared.shared.request(RequestInfo::default(), NOW) else {
                return;
            };
            counted.fetch_add(1, Ordering::AcqRel);
            request(&shared, &counted, 2);
            counted.fetch_sub(1, Ordering::AcqRel);
            shared.shared.leave(|| NOW);
        });
        request(&other, &running, 2);
        task.join().expect("no panic");
        assert_eq!(one.shared.in_flight() + other.shared.in_flight(), 0);
    });
}

#[test]
fn what_is_free_is_lent_once() {
    loom::model(|| {
        let (one, other) = pair(3, 0);
        let running = Arc::new(AtomicUsize::new(2));
        for limiter in [&one, &other] {
            let Answer::Run(_) = limiter.shared.request(RequestInfo::default(), NOW) else {
                unreachable!("it is its own")
            };
        }
        let (shared, counted) = (one.clone(), Arc::clone(&running));
        let task = thread::spawn(move || request(&shared, &counted, 3));
        request(&other, &running, 3);
        task.join().expect("no panic");
        for limiter in [&one, &other] {
            limiter.shared.leave(|| NOW);
            assert_eq!(limiter.shared.in_flight(), 0);
        }
    });
}
