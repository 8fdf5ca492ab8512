//! What a limiter promises to those who enter.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, advance, sleep, timeout};
use tower_backpressure::{
    Arrival, Fixed, Limit, Limiter, Outcome, Priority, QueueBounds, Reason, Sample, Timestamp,
};

const WAIT: Duration = Duration::from_secs(1);

fn queue(max_len: usize) -> QueueBounds {
    QueueBounds::new(max_len, WAIT)
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_and_the_next_waits_for_a_place() {
    let limiter = Limiter::fixed(1, queue(1));
    let first = limiter.acquire(Arrival::default()).await.expect("room");
    let waiter = tokio::spawn(limiter.acquire(Arrival::default()));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(limiter.snapshot().queued, 1);
    drop(first);
    let second = waiter.await.expect("no panic").expect("let in");
    assert_eq!(limiter.snapshot().in_flight, 1);
    drop(second);
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_queue_allows() {
    let limiter = Limiter::fixed(1, queue(8));
    let _first = limiter.try_acquire().expect("room");
    let began = Instant::now();
    let shed = limiter.acquire(Arrival::default()).await.expect_err("nobody leaves");
    assert_eq!(shed.reason, Reason::QueueTimeout);
    assert!(began.elapsed() >= WAIT && began.elapsed() < 2 * WAIT);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_their_deadline() {
    let limiter = Limiter::fixed(1, queue(8));
    let _first = limiter.try_acquire().expect("room");
    let soon = Instant::now() + Duration::from_millis(20);
    let arrival = Arrival::default().deadline(limiter.timestamp(soon));
    let shed = limiter.acquire(arrival).await.expect_err("nobody leaves");
    assert_eq!(shed.reason, Reason::Deadline);
    assert!(Instant::now() < soon + Duration::from_millis(20));
    // A deadline that has passed is not waited for at all.
    let shed = limiter.acquire(arrival).await.expect_err("too late");
    assert_eq!(shed.reason, Reason::Deadline);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_turns_away_and_says_when_to_come_back() {
    let limiter = Limiter::fixed(1, queue(1));
    let _first = limiter.try_acquire().expect("room");
    let _second = tokio::spawn(limiter.acquire(Arrival::default()));
    sleep(Duration::from_millis(1)).await;
    let shed = limiter.acquire(Arrival::default()).await.expect_err("full");
    assert_eq!(shed.reason, Reason::QueueFull);
    assert!(shed.retry_after > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_nobody_waits() {
    let limiter = Limiter::fixed(1, QueueBounds::NONE);
    let _first = limiter.try_acquire().expect("room");
    let shed = limiter.acquire(Arrival::default()).await.expect_err("full");
    assert_eq!(shed.reason, Reason::Limit);
}

#[tokio::test(start_paused = true)]
async fn what_matters_more_runs_first_and_displaces_what_matters_less() {
    let limiter = Limiter::fixed(1, queue(2));
    let first = limiter.try_acquire().expect("room");
    let enter = |priority| tokio::spawn(limiter.acquire(Arrival::default().priority(priority)));
    let batch = enter(Priority::Deferrable);
    let page = enter(Priority::Normal);
    sleep(Duration::from_millis(1)).await;
    let payment = enter(Priority::Critical);
    let displaced = batch.await.expect("no panic").expect_err("gave way");
    assert_eq!(displaced.reason, Reason::Displaced);
    drop(first);
    let running = payment.await.expect("no panic").expect("first in line");
    assert!(!page.is_finished());
    drop(running);
    drop(page.await.expect("no panic").expect("its turn at last"));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_no_trace() {
    let limiter = Limiter::fixed(1, queue(4));
    let first = limiter.try_acquire().expect("room");
    let impatient = timeout(Duration::from_millis(5), limiter.acquire(Arrival::default())).await;
    assert!(impatient.is_err());
    assert_eq!(limiter.snapshot().queued, 0);
    drop(first);
    assert!(limiter.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_permit_granted_to_somebody_who_has_gone_goes_to_the_next() {
    let limiter = Limiter::fixed(1, queue(4));
    let first = limiter.try_acquire().expect("room");
    let gone = tokio::spawn(limiter.acquire(Arrival::default()));
    let next = tokio::spawn(limiter.acquire(Arrival::default()));
    sleep(Duration::from_millis(1)).await;
    // The permit is granted to `gone` before it is polled again, and it never is.
    drop(first);
    gone.abort();
    drop(next.await.expect("no panic").expect("the place was passed on"));
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_takes_effect_as_they_leave_and_a_higher_one_at_once() {
    let limiter = Limiter::fixed(4, queue(8));
    let mut permits: Vec<_> = (0..4).map(|_| limiter.try_acquire().expect("room")).collect();
    limiter.replace_limit(Fixed::new(2));
    assert_eq!(limiter.snapshot().in_flight, 4);
    permits.truncate(2);
    assert!(limiter.try_acquire().is_err());
    let waiter = tokio::spawn(limiter.acquire(Arrival::default()));
    sleep(Duration::from_millis(1)).await;
    limiter.replace_limit(Fixed::new(3));
    let _permit = waiter.await.expect("no panic").expect("let in by the new limit");
}

#[tokio::test(start_paused = true)]
async fn an_idle_adaptive_gate_admits_a_burst() {
    let limiter = Limiter::adaptive();
    let burst: Vec<_> = (0..500)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut permit = limiter.acquire(Arrival::default()).await?;
                permit.measure(sleep(Duration::from_millis(10))).await;
                permit.record(Outcome::Success);
                Ok::<_, tower_backpressure::Shed>(())
            })
        })
        .collect();
    for request in burst {
        request.await.expect("no panic").expect("nobody is turned away");
    }
}

/// One at a time, and whoever is let in yields first.
#[derive(Debug)]
struct One;

impl Limit for One {
    fn limit(&self) -> usize {
        1
    }

    fn observe(&mut self, _: &Sample, _: Timestamp) {}

    fn yields(&self) -> bool {
        true
    }
}

/// Moves the clock within one poll, as a handler does that never awaits.
fn compute(span: Duration) -> impl Future<Output = ()> {
    let mut clock = Box::pin(advance(span));
    poll_fn(move |cx| {
        let _ = clock.as_mut().poll(cx);
        Poll::Ready(())
    })
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_hands_on_to_the_next_does_not_keep_the_driver_waiting() {
    let limiter = Limiter::new(One, queue(8));
    let ran = Arc::new(AtomicUsize::new(0));
    let handlers: Vec<_> = (0..6)
        .map(|_| {
            let (limiter, ran) = (limiter.clone(), Arc::clone(&ran));
            tokio::spawn(async move {
                let mut permit =
                    limiter.acquire(Arrival::default()).await.expect("room in the queue");
                permit.measure(compute(Duration::from_millis(5))).await;
                ran.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    // What is due after a millisecond is seen by the driver alone, as a request in a socket is.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    for handler in handlers {
        handler.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_tasks_never_exceed_the_limit_and_all_places_come_back() {
    let limiter = Limiter::fixed(7, queue(1_000_000));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            let (limiter, now, most) = (limiter.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let entered =
                    timeout(Duration::from_micros(n % 300), limiter.acquire(Arrival::default()));
                let Ok(Ok(_permit)) = entered.await else { return };
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                assert!(n % 97 != 0, "some of them panic");
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    assert!(most.load(Ordering::SeqCst) <= 7);
    let after = limiter.snapshot();
    assert_eq!((after.in_flight, after.queued), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_ages_and_a_wait_of_ages_are_harmless() {
    let bounds = QueueBounds::new(1, Duration::MAX);
    let limiter = Limiter::fixed(1, bounds);
    let first = limiter.try_acquire().expect("room");
    let waiter = tokio::spawn(limiter.acquire(Arrival::default()));
    advance(Duration::from_secs(86_400)).await;
    drop(first);
    let _permit = waiter.await.expect("no panic").expect("let in after a day");
}

#[test]
#[should_panic(expected = "limit must be in 1..=1000000")]
fn a_limit_of_nothing_is_refused_at_construction() {
    let _ = Limiter::fixed(0, QueueBounds::NONE);
}
