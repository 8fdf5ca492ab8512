//! Every interleaving of those who come, go, wait and give up, explored by loom.
//!
//! `RUSTFLAGS="--cfg gate_loom" cargo test -p backpressure-gate --release --lib model`

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Arrival, Fixed, Machine, QueueBounds, Ticket, Timestamp};
use loom::thread;

use super::Hall;
use crate::count::Entry;
use crate::desk::Answer;

const NOW: Timestamp = Timestamp::ZERO;

fn hall(limit: usize, max_len: usize) -> Arc<Hall> {
    let bounds = QueueBounds { max_len, max_wait: Duration::from_secs(1) };
    Arc::new(Hall::new(Machine::new(Box::new(Fixed::new(limit)), bounds)))
}

fn enter(hall: &Hall) -> Answer {
    hall.pass().map_or_else(|| hall.ask(Arrival::default(), NOW), Answer::Run)
}

fn one_in_and_one_waiting() -> (Arc<Hall>, Ticket) {
    let hall = hall(1, 1);
    let Answer::Run(_) = enter(&hall) else { unreachable!("the hall is empty") };
    let Answer::Wait(ticket, _) = enter(&hall) else { unreachable!("the hall is full") };
    (hall, ticket)
}

fn leave(hall: &Hall) {
    hall.leave(|| NOW);
}

/// Runs if it is let in; returns the ticket if it has to wait.
fn visit(hall: &Hall, limit: usize) -> Option<Ticket> {
    match enter(hall) {
        Answer::Run(Entry { in_flight, .. }) => {
            assert!(in_flight <= limit, "{in_flight} in flight");
            leave(hall);
            None
        }
        Answer::Shed(_) => None,
        Answer::Wait(ticket, _) => Some(ticket),
    }
}

fn nobody_is_left(hall: &Hall) {
    assert_eq!(hall.in_flight(), 0);
    assert_eq!(hall.inspect(Machine::queued), 0);
    assert!(hall.pass().is_some(), "the door is open again");
}

#[test]
fn the_limit_is_never_exceeded_and_every_place_comes_back() {
    loom::model(|| {
        let hall = hall(1, 0);
        let other = Arc::clone(&hall);
        let visitor = thread::spawn(move || visit(&other, 1));
        visit(&hall, 1);
        visitor.join().expect("no panic");
        nobody_is_left(&hall);
    });
}

#[test]
fn whoever_waits_is_let_in_by_whoever_leaves() {
    loom::model(|| {
        let hall = hall(1, 1);
        let Answer::Run(_) = enter(&hall) else { unreachable!("the hall is empty") };
        let other = Arc::clone(&hall);
        let leaver = thread::spawn(move || leave(&other));
        let ticket = visit(&hall, 1);
        leaver.join().expect("no panic");
        if let Some(ticket) = ticket {
            let decision = hall.collect(ticket, Waker::noop()).expect("decided by the leaver");
            assert_eq!(decision.expect("let in").in_flight, 1);
            leave(&hall);
        }
        nobody_is_left(&hall);
    });
}

#[test]
fn giving_up_races_with_being_let_in_and_loses_no_place() {
    loom::model(|| {
        let (hall, ticket) = one_in_and_one_waiting();
        let other = Arc::clone(&hall);
        let leaver = thread::spawn(move || leave(&other));
        hall.abandon(ticket, NOW);
        leaver.join().expect("no panic");
        nobody_is_left(&hall);
    });
}

#[test]
fn running_out_of_patience_races_with_being_let_in() {
    loom::model(|| {
        let (hall, ticket) = one_in_and_one_waiting();
        let other = Arc::clone(&hall);
        let leaver = thread::spawn(move || leave(&other));
        if hall.expire(ticket, NOW).expect("decided once").is_ok() {
            leave(&hall);
        }
        leaver.join().expect("no panic");
        assert_eq!(hall.in_flight(), 0);
        assert_eq!(hall.inspect(Machine::queued), 0);
    });
}

#[test]
fn a_limit_that_shrinks_meanwhile_strands_nobody() {
    loom::model(|| {
        let hall = hall(2, 1);
        let Answer::Run(_) = enter(&hall) else { unreachable!("the hall is empty") };
        let other = Arc::clone(&hall);
        let visitor = thread::spawn(move || visit(&other, 2));
        hall.change(NOW, |machine| machine.replace_limit(Box::new(Fixed::new(1))));
        leave(&hall);
        if let Some(ticket) = visitor.join().expect("no panic") {
            hall.collect(ticket, Waker::noop()).expect("decided").expect("let in");
            leave(&hall);
        }
        nobody_is_left(&hall);
    });
}
