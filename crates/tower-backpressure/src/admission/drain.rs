//! Reads the bodies of rejected requests, within bounds, so that the rejections arrive.
//!
//! A client that sends a body reads the response late, and many only when the body is sent. If the
//! server closes the connection before, the kernel resets it and the response is lost. On HTTP/2 some
//! clients drop the response when the stream is reset before its body is read.
//!
//! The rejection is not delayed: it is sent at once, while a task reads.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body, Frame};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a body is read: longer than 10 MB take at 20 Mbit/s. A client that needs longer may lose
/// its rejection; a longer time would help clients that hold connections open.
const LINGER: Duration = Duration::from_secs(5);
/// How much of one body is read: what a link of 200 Mbit/s carries within [`LINGER`]. It stops clients
/// that are nearer than that from sending for all of it.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// How many bodies of one layer are read at once. At most this many tasks of about 1 kB, beside the
/// connections that are there anyway.
const MAX_AT_ONCE: usize = 1_024;
/// How much the bodies that are being read have cost together: what two cores read from loopback in
/// a good second. A flood of uploads costs no more than that every [`LINGER`].
const MAX_BYTES_TOGETHER: usize = 1024 * 1024 * 1024;

/// Starts reading bodies, and bounds what one layer reads.
#[derive(Clone, Default)]
pub(crate) struct Drains {
    spent: Arc<Spent>,
    named: Option<&'static dyn ReadBody>,
}

/// What is done with bodies of one type.
trait ReadBody: Sync {
    /// Takes a body from an `Option` and starts to read it; false when it cannot, or the body is of another type.
    fn start(&self, body: &mut dyn Any, spent: &Arc<Spent>) -> bool;

    /// Whether it is a body of this type that has not been read to its end.
    fn is_unread(&self, body: &dyn Any) -> bool;
}

/// Bodies of this type.
struct Of<B>(PhantomData<fn(B)>);

/// What the bodies that are being read have cost so far.
#[derive(Debug, Default)]
struct Spent {
    bodies: AtomicUsize,
    bytes: AtomicUsize,
}

/// One body that is being read, until dropped.
#[derive(Debug)]
struct Reading {
    spent: Arc<Spent>,
    bytes: usize,
}

impl Drains {
    /// The same, able to read bodies of this type too.
    pub(crate) fn with_type<B: Body + Send + 'static>(&self) -> Self {
        Self { spent: Arc::clone(&self.spent), named: Some(const { &Of::<B>(PhantomData) }) }
    }

    /// Has a task read this body to its end, within the bounds; false when nothing reads it.
    ///
    /// A layer takes requests with any body, and need not know that it is one. Where it is of the
    /// type of the response's body, as in axum and tonic, it is known to be one.
    pub(crate) fn drain<Req: 'static, Res: Body + Send + 'static>(&self, body: Req) -> bool {
        let mut body = Some(body);
        let named = self.named.is_some_and(|named| named.start(&mut body, &self.spent));
        named || Of::<Res>(PhantomData).start(&mut body, &self.spent)
    }

    /// Whether there is a body that has not been read to its end. A body of an unknown type counts as none.
    pub(crate) fn is_unread<Req: 'static, Res: Body + Send + 'static>(&self, body: &Req) -> bool {
        let is_known = Of::<Res>(PhantomData).is_unread(body);
        is_known || self.named.is_some_and(|named| named.is_unread(body))
    }
}

impl<B: Body + Send + 'static> ReadBody for Of<B> {
    fn start(&self, body: &mut dyn Any, spent: &Arc<Spent>) -> bool {
        let Some(body) = body.downcast_mut::<Option<B>>() else { return false };
        if body.as_ref().is_some_and(Body::is_end_stream) {
            return true;
        }
        let (Some(reading), Ok(runtime)) = (Reading::begin(spent), Handle::try_current()) else {
            return false;
        };
        let Some(body) = body.take() else { return false };
        // In the task: where the runtime has no timers, only the task fails.
        runtime.spawn(async move { timeout(LINGER, read(body, reading)).await });
        true
    }

    fn is_unread(&self, body: &dyn Any) -> bool {
        body.downcast_ref::<B>().is_some_and(|body| !body.is_end_stream())
    }
}

/// Reads to the end, to an error, or to a bound. Whether the client learns of a bound in time is up
/// to it: its connection is closed with what it still sends.
async fn read<B: Body>(body: B, mut reading: Reading) {
    let mut body = pin!(body);
    while let Some(bytes) = poll_fn(|cx| body.as_mut().poll_frame(cx).map(length)).await {
        if !reading.goes_on(bytes) {
            return;
        }
        // A body that always has a frame must leave the thread to others, and to the clock.
        tokio::task::consume_budget().await;
    }
}

/// How many bytes of data a frame has; `None`: the body has ended or failed.
fn length<D: Buf, E>(frame: Option<Result<Frame<D>, E>>) -> Option<usize> {
    Some(frame?.ok()?.data_ref().map_or(0, Buf::remaining))
}

impl Reading {
    fn begin(spent: &Arc<Spent>) -> Option<Self> {
        let reading = Self { spent: Arc::clone(spent), bytes: 0 };
        let before = spent.bodies.fetch_add(1, Ordering::Relaxed);
        (before < MAX_AT_ONCE).then_some(reading)
    }

    /// Counts these bytes; whether the bounds allow more.
    fn goes_on(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let together = self.spent.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes <= MAX_BYTES && together <= MAX_BYTES_TOGETHER
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.spent.bodies.fetch_sub(1, Ordering::Relaxed);
        self.spent.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Drains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named.is_some();
        f.debug_struct("Drains").field("spent", &self.spent).field("named", &named).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{Full, channel::Channel};

    fn state(drains: &Drains) -> (usize, usize) {
        let bytes = drains.spent.bytes.load(Ordering::Relaxed);
        (drains.spent.bodies.load(Ordering::Relaxed), bytes)
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_the_responses_type_or_of_a_named_one_is_read_and_no_other() {
        let drains = Drains::default();
        assert!(!drains.drain::<(), Full<Bytes>>(()));
        assert!(drains.drain::<Full<Bytes>, Full<Bytes>>(Full::from("body")));
        assert!(!drains.drain::<String, Full<Bytes>>("body".into()));
        assert!(drains.with_type::<String>().drain::<String, Full<Bytes>>("body".into()));
        settle().await;
        assert_eq!(state(&drains), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_read_for_no_longer_than_the_linger() {
        let drains = Drains::default();
        let (mut sender, body) = Channel::<Bytes>::new(1);
        assert!(drains.drain::<_, Channel<Bytes>>(body));
        sender.send(Frame::data("some".into())).await.expect("it is read");
        settle().await;
        assert_eq!(state(&drains), (1, 4));
        tokio::time::sleep(LINGER + Duration::from_millis(2)).await;
        assert_eq!(state(&drains), (0, 0));
        assert!(sender.send(Frame::data("more".into())).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_body_is_read_no_further_than_its_bound() {
        let drains = Drains::default();
        let (mut sender, body) = Channel::<Bytes>::new(1);
        assert!(drains.drain::<_, Channel<Bytes>>(body));
        let (chunk, mut sent) = (Bytes::from(vec![0; 1024 * 1024]), 0);
        while sender.send(Frame::data(chunk.clone())).await.is_ok() {
            sent += chunk.len();
        }
        assert!((MAX_BYTES..=MAX_BYTES + 3 * chunk.len()).contains(&sent), "{sent}");
        settle().await;
        assert_eq!(state(&drains), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_bodies_are_read_at_once_than_may_be() {
        let drains = Drains::default();
        let mut senders = Vec::new();
        for _ in 0..MAX_AT_ONCE {
            let (sender, body) = Channel::<Bytes>::new(1);
            assert!(drains.drain::<_, Channel<Bytes>>(body));
            senders.push(sender);
        }
        assert!(!drains.drain::<_, Channel<Bytes>>(Channel::<Bytes>::new(1).1));
        drop(senders);
        settle().await;
        assert!(drains.drain::<_, Channel<Bytes>>(Channel::<Bytes>::new(1).1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_uploads_is_read_within_one_bound_for_all_of_them() {
        let drains = Drains::default();
        drains.spent.bytes.store(MAX_BYTES_TOGETHER, Ordering::Relaxed);
        let (mut sender, body) = Channel::<Bytes>::new(1);
        assert!(drains.drain::<_, Channel<Bytes>>(body));
        let _ = sender.send(Frame::data("some".into())).await;
        settle().await;
        assert!(sender.send(Frame::data("more".into())).await.is_err());
        assert_eq!(state(&drains), (0, MAX_BYTES_TOGETHER));
    }
}
