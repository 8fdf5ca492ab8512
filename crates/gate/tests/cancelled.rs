//! What a gate learns of work that is cut short.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use backpressure_gate::{
    Arrival, Gate, Limit, Metering, Outcome, Permit, QueueBounds, Sample, Timestamp,
};
use tokio::time::{sleep, timeout};

/// Keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Sample>>>);

impl Limit for Recorder {
    fn limit(&self) -> usize {
        8
    }

    fn observe(&mut self, sample: &Sample, _now: Timestamp) {
        self.0.lock().expect("not poisoned").push(*sample);
    }

    fn metering(&self) -> Metering {
        Metering::RunQueue
    }
}

impl Recorder {
    fn heard(&self) -> Vec<(Outcome, Duration)> {
        let samples = self.0.lock().expect("not poisoned");
        samples.iter().map(|sample| (sample.outcome, sample.latency)).collect()
    }
}

async fn enter(recorder: &Recorder) -> (Gate, Permit) {
    let gate = Gate::new(recorder.clone(), QueueBounds::NONE);
    let permit = gate.enter(Arrival::default()).await.expect("room");
    (gate, permit)
}

const PATIENCE: Duration = Duration::from_millis(30);

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_tells_how_long_it_took_at_least() {
    let recorder = Recorder::default();
    let (gate, mut permit) = enter(&recorder).await;
    let left = timeout(PATIENCE, async move { permit.measure(pending::<()>()).await }).await;
    assert!(left.is_err());
    assert_eq!(recorder.heard(), [(Outcome::Cancelled, PATIENCE)]);
    assert_eq!(gate.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_not_begun_or_has_ended_tells_nothing() {
    let recorder = Recorder::default();
    let (_gate, permit) = enter(&recorder).await;
    sleep(PATIENCE).await;
    drop(permit);
    let (_gate, mut permit) = enter(&recorder).await;
    permit.measure(sleep(PATIENCE)).await;
    drop(permit);
    assert_eq!(recorder.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn work_that_was_told_of_is_not_told_of_again() {
    let recorder = Recorder::default();
    let (_gate, mut permit) = enter(&recorder).await;
    permit.measure(sleep(PATIENCE)).await;
    permit.record(Outcome::Success);
    drop(permit.into_place());
    assert_eq!(recorder.heard(), [(Outcome::Success, PATIENCE)]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_no_caller_who_left() {
    let recorder = Recorder::default();
    let (gate, mut permit) = enter(&recorder).await;
    let work = async move { permit.measure(async { panic!("a bug in the handler") }).await };
    assert!(tokio::spawn(work).await.is_err());
    assert_eq!(recorder.heard(), []);
    assert_eq!(gate.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_is_caught_outside_is_no_caller_who_left() {
    let recorder = Recorder::default();
    let (gate, mut permit) = enter(&recorder).await;
    let mut work = pin!(async { panic!("a bug in the handler") });
    // As tower-http's CatchPanic does: the permit is dropped when the panic is over.
    let polled = poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| permit.poll_measured(work.as_mut(), cx));
        Poll::Ready(catch_unwind(poll))
    });
    assert!(polled.await.is_err());
    drop(permit);
    assert_eq!(recorder.heard(), []);
    assert_eq!(gate.snapshot().in_flight, 0);
}
