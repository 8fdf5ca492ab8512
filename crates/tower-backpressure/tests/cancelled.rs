//! What a limit learns from work that is cancelled.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_backpressure::{
    Limit, Limiter, Metering, Outcome, Permit, QueueBounds, RequestInfo, Sample, Timestamp,
};

/// Records the samples that it observes.
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
    fn recorded(&self) -> Vec<(Outcome, Duration)> {
        let samples = self.0.lock().expect("not poisoned");
        samples.iter().map(|sample| (sample.outcome, sample.latency)).collect()
    }
}

async fn acquire(recorder: &Recorder) -> (Limiter, Permit) {
    let limiter = Limiter::new(recorder.clone(), QueueBounds::NONE);
    let permit = limiter.acquire(RequestInfo::default()).await.expect("a free permit");
    (limiter, permit)
}

/// Longer than a response is taken to take while none was measured: a caller that leaves sooner is no evidence.
const WORK: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn work_that_is_cancelled_is_a_sample_with_the_time_it_took_so_far() {
    let recorder = Recorder::default();
    let (limiter, mut permit) = acquire(&recorder).await;
    let cancelled = timeout(WORK, async move { permit.measure(pending::<()>()).await }).await;
    assert!(cancelled.is_err());
    assert_eq!(recorder.recorded(), [(Outcome::Cancelled, WORK)]);
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_dropped_before_or_after_its_work_is_no_sample() {
    let recorder = Recorder::default();
    let (_limiter, permit) = acquire(&recorder).await;
    sleep(WORK).await;
    drop(permit);
    let (_limiter, mut permit) = acquire(&recorder).await;
    permit.measure(sleep(WORK)).await;
    drop(permit);
    assert_eq!(recorder.recorded(), []);
}

#[tokio::test(start_paused = true)]
async fn a_recorded_outcome_is_observed_once() {
    let recorder = Recorder::default();
    let (_limiter, mut permit) = acquire(&recorder).await;
    permit.measure(sleep(WORK)).await;
    permit.record(Outcome::Success);
    drop(permit);
    assert_eq!(recorder.recorded(), [(Outcome::Success, WORK)]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_not_observed_as_a_cancellation() {
    let recorder = Recorder::default();
    let (limiter, mut permit) = acquire(&recorder).await;
    let work = async move { permit.measure(async { panic!("a bug in the handler") }).await };
    assert!(tokio::spawn(work).await.is_err());
    assert_eq!(recorder.recorded(), []);
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_is_caught_outside_is_not_observed_as_a_cancellation() {
    let recorder = Recorder::default();
    let (limiter, mut permit) = acquire(&recorder).await;
    let mut work = Box::pin(permit.measure(async { panic!("a bug in the handler") }));
    // As tower-http's CatchPanic does: the permit is dropped when the panic is over.
    let polled = poll_fn(|cx| {
        Poll::Ready(catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).is_err())
    });
    assert!(polled.await);
    drop(work);
    drop(permit);
    assert_eq!(recorder.recorded(), []);
    assert_eq!(limiter.snapshot().in_flight, 0);
}
