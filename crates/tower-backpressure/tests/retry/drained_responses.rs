//! What is left of a failed response is read within bounds, so that its connection is used again.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::RetryLayer;

use crate::memory_server::{SECOND, get};

/// A body that counts what is read of it, and stalls or ends after `parts` parts of a kilobyte.
struct Counted {
    parts: u64,
    ends: bool,
    read: Arc<AtomicU64>,
    _alive: Arc<()>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.read.load(SeqCst) == self.parts {
            return if self.ends { Poll::Ready(None) } else { Poll::Pending };
        }
        self.read.fetch_add(1, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1_024])))))
    }
}

/// Sends a request that is rejected with this body and `Retry-After: 5`. Returns the kilobytes that were
/// read, and how long the body lived.
async fn rejected_with(parts: u64, ends: bool) -> (u64, Duration) {
    let read = Arc::new(AtomicU64::new(0));
    let alive = Arc::new(());
    let body_of_server: Weak<()> = Arc::downgrade(&alive);
    let body = Counted { parts, ends, read: Arc::clone(&read), _alive: alive };
    let body = std::sync::Mutex::new(Some(body));
    let body = Arc::new(body);
    let rejecting = service_fn(move |_: Request<()>| {
        let body = body.lock().unwrap().take().expect("the test ends before the retry");
        let response = Response::builder().status(503).header("retry-after", "5").body(body);
        ready(Ok::<_, Infallible>(response.unwrap()))
    });
    let start = Instant::now();
    let waiting = tokio::spawn(RetryLayer::new().layer(rejecting).oneshot(get()));
    while body_of_server.strong_count() > 0 && start.elapsed() < 4 * SECOND {
        sleep(Duration::from_millis(10)).await;
    }
    waiting.abort();
    (read.load(SeqCst), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_short_body_is_read_to_its_end_and_dropped() {
    let (kilobytes, lived) = rejected_with(3, true).await;
    assert_eq!(kilobytes, 3);
    assert!(lived < Duration::from_millis(50), "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_64_kilobytes_are_read() {
    let (kilobytes, lived) = rejected_with(10_000, true).await;
    assert!((64..=65).contains(&kilobytes), "{kilobytes}");
    assert!(lived < Duration::from_millis(50), "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_dropped_after_half_a_second_of_the_wait() {
    let (kilobytes, lived) = rejected_with(2, false).await;
    assert_eq!(kilobytes, 2);
    assert!((500..=520).contains(&lived.as_millis()), "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn reading_a_body_makes_no_retry_earlier_or_later() {
    for (millis, ends) in [(30, false), (30, true), (800, false)] {
        let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
        let recorder = Arc::clone(&sent);
        let rejecting = service_fn(move |_: Request<()>| {
            recorder.lock().unwrap().push(Instant::now());
            let (read, _alive) = (Arc::default(), Arc::default());
            let body = Counted { parts: 1, ends, read, _alive };
            let wait = format!("0.{millis:03}");
            let response = Response::builder().status(503).header("retry-after", wait).body(body);
            ready(Ok::<_, Infallible>(response.unwrap()))
        });
        RetryLayer::new().max_attempts(2).layer(rejecting).oneshot(get()).await.unwrap();
        let sent = sent.lock().unwrap();
        let gap = (sent[1] - sent[0]).as_millis();
        assert!((millis..=millis + 101).contains(&gap), "{gap} ms for {millis} ms");
    }
}

/// A body of empty frames that never ends, and never makes its reader wait.
#[derive(Default)]
struct EmptyFrames(Arc<AtomicU64>);

impl Body for EmptyFrames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.fetch_add(1, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_empty_frames_without_an_end_is_given_up() {
    let frames = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&frames);
    let rejecting = service_fn(move |_: Request<()>| {
        let response = Response::builder().status(503).header("retry-after", "1");
        ready(Ok::<_, Infallible>(response.body(EmptyFrames(Arc::clone(&read))).unwrap()))
    });
    let response = RetryLayer::new().layer(rejecting).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 503);
    let frames = frames.load(SeqCst);
    assert!((1..=4_000).contains(&frames), "{frames}");
}
