//! The promises of a limiter.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, advance, sleep, timeout};
use tower_backpressure::{
    Fixed, Limit, Limiter, Outcome, Priority, QueueBounds, Reason, RequestInfo, Sample, Timestamp,
};

const MAX_WAIT: Duration = Duration::from_secs(1);

fn queue(max_len: usize) -> QueueBounds {
    QueueBounds::new(max_len, MAX_WAIT)
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_limit_waits_for_a_permit() {
    let limiter = Limiter::fixed(1, queue(1));
    let first = limiter.acquire(RequestInfo::default()).await.expect("a free permit");
    let queued = tokio::spawn(limiter.acquire(RequestInfo::default()));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(limiter.snapshot().queued, 1);
    drop(first);
    let second = queued.await.expect("no panic").expect("admitted");
    assert_eq!(limiter.snapshot().in_flight, 1);
    drop(second);
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_longer_than_the_queue_allows() {
    let limiter = Limiter::fixed(1, queue(8));
    let _first = limiter.try_acquire().expect("a free permit");
    let began = Instant::now();
    let shed = limiter.acquire(RequestInfo::default()).await.expect_err("no permit is released");
    assert_eq!(shed.reason, Reason::QueueTimeout);
    assert!(began.elapsed() >= MAX_WAIT && began.elapsed() < 2 * MAX_WAIT);
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_past_its_deadline() {
    let limiter = Limiter::fixed(1, queue(8));
    let _first = limiter.try_acquire().expect("a free permit");
    let soon = Instant::now() + Duration::from_millis(20);
    let info = RequestInfo::default().deadline(soon);
    let shed = limiter.acquire(info).await.expect_err("no permit is released");
    assert_eq!(shed.reason, Reason::Deadline);
    assert!(Instant::now() < soon + Duration::from_millis(20));
    // A request whose deadline has passed does not wait at all.
    let shed = limiter.acquire(info).await.expect_err("the deadline has passed");
    assert_eq!(shed.reason, Reason::Deadline);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_rejects_and_says_when_to_come_back() {
    let limiter = Limiter::fixed(1, queue(1));
    let _first = limiter.try_acquire().expect("a free permit");
    let _second = tokio::spawn(limiter.acquire(RequestInfo::default()));
    sleep(Duration::from_millis(1)).await;
    let shed = limiter.acquire(RequestInfo::default()).await.expect_err("no permit is free");
    assert_eq!(shed.reason, Reason::QueueFull);
    assert!(shed.retry_after > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_limit_is_rejected_at_once_without_a_queue() {
    let limiter = Limiter::fixed(1, QueueBounds::NONE);
    let _first = limiter.try_acquire().expect("a free permit");
    let shed = limiter.acquire(RequestInfo::default()).await.expect_err("no permit is free");
    assert_eq!(shed.reason, Reason::Limit);
}

#[tokio::test(start_paused = true)]
async fn a_higher_priority_runs_first_and_displaces_a_lower_one() {
    let limiter = Limiter::fixed(1, queue(2));
    let first = limiter.try_acquire().expect("a free permit");
    let acquire =
        |priority| tokio::spawn(limiter.acquire(RequestInfo::default().priority(priority)));
    let batch = acquire(Priority::Deferrable);
    let page = acquire(Priority::Normal);
    sleep(Duration::from_millis(1)).await;
    let payment = acquire(Priority::Critical);
    let displaced = batch.await.expect("no panic").expect_err("displaced");
    assert_eq!(displaced.reason, Reason::Displaced);
    drop(first);
    let running = payment.await.expect("no panic").expect("first in the queue");
    assert!(!page.is_finished());
    drop(running);
    drop(page.await.expect("no panic").expect("admitted last"));
}

#[tokio::test(start_paused = true)]
async fn a_queued_request_that_is_dropped_leaves_the_queue() {
    let limiter = Limiter::fixed(1, queue(4));
    let first = limiter.try_acquire().expect("a free permit");
    let dropped = timeout(Duration::from_millis(5), limiter.acquire(RequestInfo::default())).await;
    assert!(dropped.is_err());
    assert_eq!(limiter.snapshot().queued, 0);
    drop(first);
    assert!(limiter.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_permit_granted_to_a_dropped_request_goes_to_the_next_one() {
    let limiter = Limiter::fixed(1, queue(4));
    let first = limiter.try_acquire().expect("a free permit");
    let dropped = tokio::spawn(limiter.acquire(RequestInfo::default()));
    let next = tokio::spawn(limiter.acquire(RequestInfo::default()));
    sleep(Duration::from_millis(1)).await;
    // The permit is granted to `dropped`, which is never polled again.
    drop(first);
    dropped.abort();
    drop(next.await.expect("no panic").expect("the permit went to the next request"));
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_takes_effect_as_permits_are_released_and_a_higher_one_at_once() {
    let limiter = Limiter::fixed(4, queue(8));
    let mut permits: Vec<_> =
        (0..4).map(|_| limiter.try_acquire().expect("a free permit")).collect();
    limiter.replace_limit(Fixed::new(2));
    assert_eq!(limiter.snapshot().in_flight, 4);
    permits.truncate(2);
    assert!(limiter.try_acquire().is_err());
    let queued = tokio::spawn(limiter.acquire(RequestInfo::default()));
    sleep(Duration::from_millis(1)).await;
    limiter.replace_limit(Fixed::new(3));
    let _permit = queued.await.expect("no panic").expect("admitted by the new limit");
}

#[tokio::test(start_paused = true)]
async fn an_idle_adaptive_limiter_admits_a_burst() {
    let limiter = Limiter::adaptive();
    let burst: Vec<_> = (0..500)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut permit = limiter.acquire(RequestInfo::default()).await?;
                permit.measure(sleep(Duration::from_millis(10))).await;
                permit.record(Outcome::Success);
                Ok::<_, tower_backpressure::Shed>(())
            })
        })
        .collect();
    for request in burst {
        request.await.expect("no panic").expect("no request is rejected");
    }
}

/// A limit of one whose admitted requests yield before they run.
#[derive(Debug)]
struct YieldingLimit;

impl Limit for YieldingLimit {
    fn limit(&self) -> usize {
        1
    }

    fn observe(&mut self, _: &Sample, _: Timestamp) {}

    fn yields(&self) -> bool {
        true
    }
}

/// Advances the clock within one poll, like a handler that computes and never awaits.
fn compute(span: Duration) -> impl Future<Output = ()> {
    let mut clock = Box::pin(advance(span));
    poll_fn(move |cx| {
        let _ = clock.as_mut().poll(cx);
        Poll::Ready(())
    })
}

#[tokio::test(start_paused = true)]
async fn the_io_driver_is_polled_between_requests_from_the_queue() {
    let limiter = Limiter::new(YieldingLimit, queue(8));
    let ran = Arc::new(AtomicUsize::new(0));
    let handlers: Vec<_> = (0..6)
        .map(|_| {
            let (limiter, ran) = (limiter.clone(), Arc::clone(&ran));
            tokio::spawn(async move {
                let mut permit =
                    limiter.acquire(RequestInfo::default()).await.expect("admitted from the queue");
                permit.measure(compute(Duration::from_millis(5))).await;
                ran.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    // Only the driver sees a timer that is due, as it alone sees a request in a socket.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    for handler in handlers {
        handler.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_tasks_never_exceed_the_limit_and_all_permits_are_released() {
    let limiter = Limiter::fixed(7, queue(1_000_000));
    let (running, max_running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            let (running, max_running) = (Arc::clone(&running), Arc::clone(&max_running));
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let acquired = timeout(
                    Duration::from_micros(n % 300),
                    limiter.acquire(RequestInfo::default()),
                );
                let Ok(Ok(_permit)) = acquired.await else { return };
                max_running.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                assert!(n % 97 != 0, "some tasks panic");
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    assert!(max_running.load(Ordering::SeqCst) <= 7);
    let after = limiter.snapshot();
    assert_eq!((after.in_flight, after.queued), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_a_time_limit_admits_a_request_after_a_day() {
    let bounds = QueueBounds::new(1, Duration::MAX);
    let limiter = Limiter::fixed(1, bounds);
    let first = limiter.try_acquire().expect("a free permit");
    let queued = tokio::spawn(limiter.acquire(RequestInfo::default()));
    advance(Duration::from_secs(86_400)).await;
    drop(first);
    let _permit = queued.await.expect("no panic").expect("admitted after a day");
}

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_limit_of_zero_panics_at_construction() {
    let _ = Limiter::fixed(0, QueueBounds::NONE);
}
