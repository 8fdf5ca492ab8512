//! The service behind the layer.

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
use tokio::time::{advance, sleep};
use tower::Service;

use super::class::{Answer, Class, Content, Work};
use super::law::Law;
use crate::script::{Broken, End, Script};

/// Bytes in a frame: hyper's buffers hold a few of this size.
const FRAME_SIZE: usize = 16 * 1024;

/// What a request carries.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) class: usize,
    pub(crate) fails: bool,
    /// For the draws of its service times.
    pub(crate) seed: u64,
}

/// The service behind the layer: does what the class of a request says.
#[derive(Clone, Debug)]
pub struct Handler {
    classes: Arc<[Class]>,
    bottleneck: Bottleneck,
}

#[derive(Clone, Debug)]
struct Bottleneck {
    slots: Arc<Semaphore>,
    service: Law,
}

/// An error in place of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

type Turn = Pin<Box<dyn Future<Output = Rng> + Send>>;

impl Bottleneck {
    async fn turn(self, mut rng: Rng) -> Rng {
        let slot = self.slots.acquire().await.expect("never closed");
        sleep(self.service.draw(&mut rng)).await;
        drop(slot);
        rng
    }
}

impl Handler {
    pub(crate) fn new(classes: Arc<[Class]>, slots: usize, service: Law) -> Self {
        let slots = Arc::new(Semaphore::new(slots));
        Self { classes, bottleneck: Bottleneck { slots, service } }
    }

    async fn handle(self, job: Job) -> Result<Response<Answered>, Failed> {
        let class = &self.classes[job.class];
        if let (true, Some((_, answer))) = (job.fails, class.failing) {
            sleep(class.fails_after).await;
            return fail(answer);
        }
        sleep(class.delay).await;
        let mut rng = Rng::with_seed(job.seed);
        match class.work {
            Work::None => {}
            Work::Turn => rng = self.bottleneck.clone().turn(rng).await,
            Work::Compute(time) => compute(time),
            Work::Hangs => pending().await,
        }
        sleep(class.tail).await;
        let body = match class.content {
            Content::Frames(count) => Kind::Script(Script::pieces(count, FRAME_SIZE)),
            Content::Idle => Kind::Script(Script::pieces(1, 1).end(End::Hangs)),
            Content::Turns(left) => Kind::Turns {
                left,
                bottleneck: self.bottleneck.clone(),
                rng: Some(rng),
                turn: None,
            },
        };
        let head = Response::builder().header(header::CONTENT_TYPE, class.content_type);
        Ok(head.body(Answered(body)).expect("a response"))
    }
}

/// Keeps the only worker: the clock goes on, and no other task is polled meanwhile.
fn compute(time: Duration) {
    // The first poll moves the clock; all that follows is a yield.
    let _ = pin!(advance(time)).poll(&mut Context::from_waker(Waker::noop()));
}

fn fail(answer: Answer) -> Result<Response<Answered>, Failed> {
    let empty = Answered(Kind::Script(Script::default()));
    let head = Response::builder();
    let response = match answer {
        Answer::Status(status) => head.status(status).body(empty),
        Answer::Grpc(code) => head
            .header(header::CONTENT_TYPE, "application/grpc")
            .header("grpc-status", u16::from(code))
            .body(empty),
        Answer::Error => return Err(Failed),
        Answer::Trailers(code) => head
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(Answered(Kind::Script(Script::pieces(1, 1).grpc_status(code)))),
        Answer::Reset => head.body(Answered(Kind::Script(Script::pieces(1, 1).end(End::Broken)))),
    };
    Ok(response.expect("a response"))
}

impl Service<Request<Job>> for Handler {
    type Response = Response<Answered>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answered>, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Job>) -> Self::Future {
        Box::pin(self.clone().handle(request.into_body()))
    }
}

/// The body of an answer.
pub struct Answered(Kind);

enum Kind {
    /// Frames that are there.
    Script(Script),
    /// Frames that take a turn at the bottleneck each.
    Turns {
        left: usize,
        bottleneck: Bottleneck,
        /// The source of the draws; none while a turn has it.
        rng: Option<Rng>,
        turn: Option<Turn>,
    },
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.get_mut().0 {
            Kind::Script(script) => Pin::new(script).poll_frame(cx),
            Kind::Turns { left: 0, .. } => Poll::Ready(None),
            Kind::Turns { left, bottleneck, rng, turn } => {
                let running = turn.get_or_insert_with(|| {
                    let rng = rng.take().expect("no turn has it");
                    Box::pin(bottleneck.clone().turn(rng))
                });
                *rng = Some(ready!(running.as_mut().poll(cx)));
                (*turn, *left) = (None, *left - 1);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"token")))))
            }
        }
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").finish_non_exhaustive()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed as ordered")
    }
}

impl std::error::Error for Failed {}
