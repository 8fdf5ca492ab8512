//! Every interleaving of admission, release, queueing and cancellation, explored by loom.
//!
//! `RUSTFLAGS="--cfg limiter_loom" cargo test -p tower-backpressure --no-default-features --release
//! --lib model`

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Controller, Fixed, QueueBounds, RequestInfo, Ticket, Timestamp};
use loom::thread;

use super::counter::Entry;
use super::shared::Shared;
use super::state::Answer;

const NOW: Timestamp = Timestamp::ZERO;

fn shared(limit: usize, max_len: usize) -> Arc<Shared> {
    let bounds = QueueBounds::new(max_len, Duration::from_secs(1));
    Arc::new(Shared::new(Controller::new(Box::new(Fixed::new(limit)), bounds)))
}

fn arrive(shared: &Shared) -> Answer {
    shared.request(RequestInfo::default(), NOW)
}

fn one_in_flight_and_one_queued() -> (Arc<Shared>, Ticket) {
    let shared = shared(1, 1);
    let Answer::Run(_) = arrive(&shared) else { unreachable!("no permit is in use") };
    let Answer::Wait(ticket, _) = arrive(&shared) else { unreachable!("the limit is reached") };
    (shared, ticket)
}

fn release(shared: &Shared) {
    shared.leave(|| NOW);
}

/// Runs if it is admitted; returns its ticket if it is queued.
fn request(shared: &Shared, limit: usize) -> Option<Ticket> {
    match arrive(shared) {
        Answer::Run(Entry { in_flight, .. }) => {
            assert!(in_flight <= limit, "{in_flight} in flight");
            release(shared);
            None
        }
        Answer::Shed(_) => None,
        Answer::Wait(ticket, _) => Some(ticket),
    }
}

fn nothing_is_left(shared: &Shared) {
    assert_eq!(shared.in_flight(), 0);
    assert_eq!(shared.inspect(Controller::queued), 0);
    assert!(shared.counter.try_enter().is_some(), "a permit is free again");
}

#[test]
fn the_limit_is_never_exceeded_and_every_permit_is_released() {
    loom::model(|| {
        let shared = shared(1, 0);
        let other = Arc::clone(&shared);
        let task = thread::spawn(move || request(&other, 1));
        request(&shared, 1);
        task.join().expect("no panic");
        nothing_is_left(&shared);
    });
}

#[test]
fn a_queued_request_is_admitted_by_the_next_release() {
    loom::model(|| {
        let shared = shared(1, 1);
        let Answer::Run(_) = arrive(&shared) else { unreachable!("no permit is in use") };
        let other = Arc::clone(&shared);
        let releaser = thread::spawn(move || release(&other));
        let ticket = request(&shared, 1);
        releaser.join().expect("no panic");
        if let Some(ticket) = ticket {
            let decision = shared.collect(ticket, Waker::noop()).expect("decided by the release");
            assert_eq!(decision.expect("admitted").in_flight, 1);
            release(&shared);
        }
        nothing_is_left(&shared);
    });
}

#[test]
fn cancelling_races_with_admission_and_loses_no_permit() {
    loom::model(|| {
        let (shared, ticket) = one_in_flight_and_one_queued();
        let other = Arc::clone(&shared);
        let releaser = thread::spawn(move || release(&other));
        shared.abandon(ticket, NOW);
        releaser.join().expect("no panic");
        nothing_is_left(&shared);
    });
}

#[test]
fn a_queue_timeout_races_with_admission() {
    loom::model(|| {
        let (shared, ticket) = one_in_flight_and_one_queued();
        let other = Arc::clone(&shared);
        let releaser = thread::spawn(move || release(&other));
        if shared.expire(ticket, NOW).expect("decided once").is_ok() {
            release(&shared);
        }
        releaser.join().expect("no panic");
        assert_eq!(shared.in_flight(), 0);
        assert_eq!(shared.inspect(Controller::queued), 0);
    });
}

#[test]
fn a_limit_that_falls_meanwhile_strands_no_request() {
    loom::model(|| {
        let shared = shared(2, 1);
        let Answer::Run(_) = arrive(&shared) else { unreachable!("no permit is in use") };
        let other = Arc::clone(&shared);
        let task = thread::spawn(move || request(&other, 2));
        shared.change(NOW, |controller| controller.replace_limit(Box::new(Fixed::new(1))));
        release(&shared);
        if let Some(ticket) = task.join().expect("no panic") {
            shared.collect(ticket, Waker::noop()).expect("decided").expect("admitted");
            release(&shared);
        }
        nothing_is_left(&shared);
    });
}
