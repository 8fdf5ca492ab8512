//! One request: admission, perhaps the queue, then the service inside or a rejection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_core::Shed;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::coop::poll_proceed;
use tokio::time::Instant;
use tower_service::Service;

use super::Policy;
use super::body::{ResponseBody, Size};
use super::delayed_rejection::Delay;
use super::guard::Guard;
use super::rejection::{Caller, Rendered};
use super::response_policy::ResponsePolicy;
use crate::inner::Inner;
use crate::limiter::Acquire;
use crate::observe::Queued;

mod decide;
mod deliver;

pub(crate) use self::deliver::Deliver;

use self::deliver::WithBody;

pin_project! {
    /// The future of [`Limited`](super::Limited).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<Call<S, ReqBody>, ReqBody, S::Future, S::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<C, B, F, E> {
        // In the queue.
        Queued { acquire: Pin<Box<Acquire>>, queued: Queued, policy: Arc<Policy>, call: Option<C> },
        // Admitted; the service inside is not called yet.
        Starting { guard: Option<Guard>, call: Option<C>, response: ResponsePolicy },
        // The service inside runs.
        Running { #[pin] future: F, guard: Option<Guard>, response: ResponsePolicy },
        // Rejected, at once or after a delay. The request's body is kept until something reads it.
        Rejected {
            shed: Shed,
            due: Instant,
            caller: Caller,
            policy: Arc<Policy>,
            delay: Option<Delay>,
            body: Option<B>,
            rendered: Option<Rendered>,
        },
        // The service inside could not be called.
        Failed { error: Option<E> },
    }
}

/// Whether a request can be started at once.
enum Start<E> {
    /// It is admitted, and the service inside is ready.
    Now(Guard, ResponsePolicy),
    /// It is admitted, and has to yield first, or the service inside is not ready.
    NotReady(Guard),
    /// It is admitted, and the service inside has failed.
    Failed(E),
    /// It needs a decision, may be exempt, or is to be told of the layer.
    Undecided,
}

/// What it takes to call the service inside later.
struct Call<S, ReqBody> {
    inner: S,
    request: Request<ReqBody>,
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
    ReqBody: 'static,
{
    /// Calls the service inside at once if it can: keeping it, the request and the policy for later
    /// would cost as much as all the rest. `R`: the type of the response's body.
    #[inline(always)]
    pub(crate) fn new<R: Body + Send + 'static>(
        inner: &mut impl Inner<S, Request<ReqBody>>,
        request: Request<ReqBody>,
        policy: &Arc<Policy>,
    ) -> Self {
        Self::showing::<R>(inner, request, policy, |_| ())
    }

    /// The same, but that a request which is not sent at once, and may be rejected, is shown to `look` before.
    #[inline(always)]
    pub(crate) fn showing<R: Body + Send + 'static>(
        inner: &mut impl Inner<S, Request<ReqBody>>,
        request: Request<ReqBody>,
        policy: &Arc<Policy>,
        look: impl FnOnce(&Request<ReqBody>),
    ) -> Self {
        match policy.start(inner, &request) {
            Start::Now(guard, response) => {
                // A layer inside may decide in its `call`.
                let inside = guard.enter();
                let future = inner.call(request);
                drop(inside);
                Self { state: State::Running { future, guard: Some(guard), response } }
            }
            start => {
                look(&request);
                Self::start_later::<R>(start, inner, request, policy)
            }
        }
    }

    /// The service inside cannot be called yet.
    #[cold]
    fn start_later<R: Body + Send + 'static>(
        start: Start<S::Error>,
        inner: &mut impl Inner<S, Request<ReqBody>>,
        request: Request<ReqBody>,
        policy: &Arc<Policy>,
    ) -> Self {
        let state = match start {
            Start::Now(guard, _) | Start::NotReady(guard) => {
                let response = policy.response.of(&request);
                let call = Some(Call { inner: inner.take_polled(), request });
                State::Starting { guard: Some(guard), call, response }
            }
            Start::Failed(error) => State::Failed { error: Some(error) },
            Start::Undecided => {
                let (request, is_exempt) = policy.switches.check_exempt(request);
                match is_exempt {
                    true => policy.run_exempt(inner, request),
                    false => policy.decide::<R, _, _, _, _>(inner, request),
                }
            }
        };
        Self { state }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: 'static,
    ResBody: Body + Send + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_delivering(cx, WithBody)
    }
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: 'static,
{
    /// Polls the request, whatever the body of its response is and whatever is returned for it.
    #[inline(always)]
    pub(crate) fn poll_delivering<D: Deliver<ResBody>>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        deliver: D,
    ) -> Poll<Result<D::Output, S::Error>> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Queued → Starting when admitted, → Rejected otherwise.
                StateProj::Queued { acquire, queued, policy, call } => {
                    let acquired = ready!(acquire.as_mut().poll(cx));
                    let call = call.take().expect("taken on leaving this state");
                    let acquired = acquired.and_then(|permit| policy.recheck(permit));
                    let waited = queued.decided(acquired.is_ok());
                    let next = policy.leave_queue(acquired, waited, call);
                    this.state.set(next);
                }
                // Starting → Running when the service inside is ready.
                StateProj::Starting { guard, call, response } => {
                    ready!(guard.as_mut().expect("taken on leaving this state").poll_start(cx));
                    let inner = &mut call.as_mut().expect("taken on leaving this state").inner;
                    ready!(inner.poll_ready(cx))?;
                    let (guard, response) = (guard.take(), response.clone());
                    let Call { mut inner, request } = call.take().expect("present a line ago");
                    let inside = guard.as_ref().and_then(Guard::enter);
                    let future = inner.call(request);
                    drop(inside);
                    this.state.set(State::Running { future, guard, response });
                }
                // Ends with the head of the response; the body keeps the guard.
                StateProj::Running { future, guard, response: policy } => {
                    let held = guard.as_mut().expect("not polled after completion");
                    let poll = held.begin_poll(cx);
                    // By reference as long as possible: a response is large, and a move is a copy.
                    let mut polled = future.poll(&mut Context::from_waker(poll.waker(cx)));
                    held.end_poll(poll, &mut polled, &policy.classifier);
                    let Poll::Ready(result) = &mut polled else { return Poll::Pending };
                    held.head_is_ready();
                    let Ok(response) = result else {
                        *guard = None;
                        return polled
                            .map_ok(|response| deliver.served(response, guard, Size::NONE));
                    };
                    if let Some(by) = policy.read_head(response, held) {
                        return polled.map_ok(|response| deliver.replaced(response, by));
                    }
                    if !policy.body_holds_guard(response, held.is_stream()) {
                        *guard = None;
                    }
                    let length = D::length_of(response.body());
                    let size =
                        Size::of(response.headers(), length, guard, policy.classifier.side());
                    return polled.map_ok(|response| deliver.served(response, guard, size));
                }
                StateProj::Rejected { shed, due, caller, policy, delay, body, rendered } => {
                    if let Some(body) = body.take() {
                        *caller = policy.drain::<_, D::Body>(*caller, body);
                    }
                    ready!(poll_delay(delay.as_mut(), cx));
                    let response = policy.respond(*shed, *due, *caller, rendered.take());
                    return Poll::Ready(Ok(deliver.rejected(response)));
                }
                StateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("not polled after completion")));
                }
            }
        }
    }
}

/// Ready when a rejection has been delayed for long enough.
fn poll_delay(delay: Option<&mut Delay>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(delay) = delay {
        ready!(delay.poll(cx));
    }
    // Without a delay nothing else here waits: a client that retries in a loop must not starve the
    // other tasks of the thread.
    ready!(poll_proceed(cx)).made_progress();
    Poll::Ready(())
}

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
