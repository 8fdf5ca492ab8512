//! The service behind the layer under test.

use std::fmt;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, header};
use http_body::{Body, Frame};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, advance, sleep};
use tower::Service;

use super::class::{Class, Content, Failure, Work};
use super::distribution::Distribution;
use super::speed::Speed;
use crate::scripted_body::{Broken, End, ScriptedBody};

/// Bytes in a frame: hyper's buffers hold a few of this size.
const FRAME_SIZE: usize = 16 * 1024;

/// The content of a request.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) class: usize,
    pub(crate) fails: bool,
    /// Seed for the draws of its service times.
    pub(crate) seed: u64,
}

/// The service behind the layer: handles a request as its class describes.
#[derive(Clone, Debug)]
pub struct Handler {
    classes: Arc<[Class]>,
    bottleneck: Bottleneck,
}

#[derive(Clone, Debug)]
struct Bottleneck {
    slots: Arc<Semaphore>,
    service: Distribution,
    start: Instant,
    speed: Speed,
}

/// The error of a service that fails without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

type SlotUse = Pin<Box<dyn Future<Output = Rng> + Send>>;

impl Bottleneck {
    async fn occupy_slot(self, mut rng: Rng) -> Rng {
        let slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let mut work = self.service.draw(&mut rng);
        while !work.is_zero() {
            let (elapsed, left) = self.speed.elapsed_and_left(self.start.elapsed(), work);
            sleep(elapsed).await;
            work = left;
        }
        drop(slot);
        rng
    }
}

impl Handler {
    pub(crate) fn new(
        classes: Arc<[Class]>,
        slots: usize,
        service: Distribution,
        speed: Speed,
    ) -> Self {
        let (slots, start) = (Arc::new(Semaphore::new(slots)), Instant::now());
        Self { classes, bottleneck: Bottleneck { slots, service, start, speed } }
    }

    async fn handle(self, job: Job) -> Result<Response<HandlerBody>, Failed> {
        let class = &self.classes[job.class];
        if let (true, Some((_, failure))) = (job.fails, class.failing) {
            sleep(class.fails_after).await;
            return fail(failure);
        }
        sleep(class.delay).await;
        let mut rng = Rng::with_seed(job.seed);
        match class.work {
            Work::None => {}
            Work::Turn => rng = self.bottleneck.clone().occupy_slot(rng).await,
            Work::Compute(time) => compute(time),
            Work::Hangs => pending().await,
        }
        sleep(class.tail).await;
        let body = match class.content {
            Content::Frames(count) => Kind::ScriptedBody(ScriptedBody::pieces(count, FRAME_SIZE)),
            Content::Idle => Kind::ScriptedBody(ScriptedBody::pieces(1, 1).end(End::Hangs)),
            Content::Turns(remaining) => Kind::Turns {
                remaining,
                bottleneck: self.bottleneck.clone(),
                rng: Some(rng),
                slot_use: None,
            },
            Content::Heartbeats(period) => {
                Kind::Heartbeats { period, next: Box::pin(sleep(period)) }
            }
        };
        let head = Response::builder().header(header::CONTENT_TYPE, class.content_type);
        Ok(head.body(HandlerBody(body)).expect("a response"))
    }
}

/// Occupies the only worker thread: the clock advances and no other task is polled meanwhile.
fn compute(time: Duration) {
    // The first poll advances the clock; the rest of the future would only yield.
    let _ = pin!(advance(time)).poll(&mut Context::from_waker(Waker::noop()));
}

fn fail(failure: Failure) -> Result<Response<HandlerBody>, Failed> {
    let empty = HandlerBody(Kind::ScriptedBody(ScriptedBody::default()));
    let head = Response::builder();
    let response = match failure {
        Failure::Status(status) => head.status(status).body(empty),
        Failure::Grpc(code) => head
            .header(header::CONTENT_TYPE, "application/grpc")
            .header("grpc-status", u16::from(code))
            .body(empty),
        Failure::Error => return Err(Failed),
        Failure::Trailers(code) => head
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(HandlerBody(Kind::ScriptedBody(ScriptedBody::pieces(1, 1).grpc_status(code)))),
        Failure::Reset => {
            head.body(HandlerBody(Kind::ScriptedBody(ScriptedBody::pieces(1, 1).end(End::Broken))))
        }
    };
    Ok(response.expect("a response"))
}

impl Service<Request<Job>> for Handler {
    type Response = Response<HandlerBody>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<HandlerBody>, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Job>) -> Self::Future {
        Box::pin(self.clone().handle(request.into_body()))
    }
}

/// The body of a response.
pub struct HandlerBody(Kind);

enum Kind {
    /// Frames that are ready.
    ScriptedBody(ScriptedBody),
    /// Frames that each occupy a slot of the bottleneck.
    Turns {
        remaining: usize,
        bottleneck: Bottleneck,
        /// The source of the draws; `None` while `slot_use` has it.
        rng: Option<Rng>,
        slot_use: Option<SlotUse>,
    },
    /// A small frame every period.
    Heartbeats { period: Duration, next: Pin<Box<Sleep>> },
}

impl Body for HandlerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.get_mut().0 {
            Kind::ScriptedBody(script) => Pin::new(script).poll_frame(cx),
            Kind::Heartbeats { period, next } => {
                ready!(next.as_mut().poll(cx));
                next.as_mut().reset(Instant::now() + *period);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))))
            }
            Kind::Turns { remaining: 0, .. } => Poll::Ready(None),
            Kind::Turns { remaining, bottleneck, rng, slot_use } => {
                let running = slot_use.get_or_insert_with(|| {
                    let rng = rng.take().expect("no slot use has it");
                    Box::pin(bottleneck.clone().occupy_slot(rng))
                });
                *rng = Some(ready!(running.as_mut().poll(cx)));
                (*slot_use, *remaining) = (None, *remaining - 1);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"token")))))
            }
        }
    }
}

impl fmt::Debug for HandlerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerBody").finish_non_exhaustive()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler failed")
    }
}

impl std::error::Error for Failed {}
