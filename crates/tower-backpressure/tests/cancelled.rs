//! What a limiter learns of work that is cut short.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_backpressure::{
    Arrival, Limit, Limiter, Metering, Outcome, Permit, QueueBounds, Sample, Timestamp,
};

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

async fn enter(recorder: &Recorder) -> (Limiter, Permit) {
    let limiter = Limiter::new(recorder.clone(), QueueBounds::NONE);
    let permit = limiter.acquire(Arrival::default()).await.expect("room");
    (limiter, permit)
}

const PATIENCE: Duration = Duration::from_millis(30);

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_tells_how_long_it_took_at_least() {
    let recorder = Recorder::default();
    let (limiter, mut permit) = enter(&recorder).await;
    let left = timeout(PATIENCE, async move { permit.measure(pending::<()>()).await }).await;
    assert!(left.is_err());
    assert_eq!(recorder.heard(), [(Outcome::Cancelled, PATIENCE)]);
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_not_begun_or_has_ended_tells_nothing() {
    let recorder = Recorder::default();
    let (_limiter, permit) = enter(&recorder).await;
    sleep(PATIENCE).await;
    drop(permit);
    let (_limiter, mut permit) = enter(&recorder).await;
    permit.measure(sleep(PATIENCE)).await;
    drop(permit);
    assert_eq!(recorder.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn a_recorded_outcome_is_taught_once() {
    let recorder = Recorder::default();
    let (_limiter, mut permit) = enter(&recorder).await;
    permit.measure(sleep(PATIENCE)).await;
    permit.record(Outcome::Success);
    drop(permit);
    assert_eq!(recorder.heard(), [(Outcome::Success, PATIENCE)]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_not_taught_as_a_cancellation() {
    let recorder = Recorder::default();
    let (limiter, mut permit) = enter(&recorder).await;
    let work = async move { permit.measure(async { panic!("a bug in the handler") }).await };
    assert!(tokio::spawn(work).await.is_err());
    assert_eq!(recorder.heard(), []);
    assert_eq!(limiter.snapshot().in_flight, 0);
}
