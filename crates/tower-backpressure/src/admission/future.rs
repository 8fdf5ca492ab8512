//! One request: admission, perhaps the queue, then the service inside or a rejection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use backpressure_core::Shed;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::coop::poll_proceed;
use tokio::time::Instant;
use tower_service::Service;

use super::Policy;
use super::body::ResponseBody;
use super::delayed_rejection::Delay;
use super::dry_run::DryRun;
use super::guard::Guard;
use super::rejection::Caller;
use super::response_policy::ResponsePolicy;
use crate::limiter::{Acquire, Acquired, Permit};
use crate::observe::Queued;
use crate::request_info::RequestInfo;

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
            caller: Caller,
            policy: Arc<Policy>,
            delay: Option<Delay>,
            body: Option<B>,
        },
        // The service inside could not be called.
        Failed { error: Option<E> },
    }
}

/// What it takes to call the service inside later.
struct Call<S, ReqBody> {
    inner: S,
    request: Request<ReqBody>,
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>> + Clone,
{
    /// Calls the service inside at once if it can: keeping it, the request and the policy for later
    /// would cost as much as all the rest.
    pub(crate) fn new(inner: &mut S, request: Request<ReqBody>, policy: &Arc<Policy>) -> Self {
        let (request, exempt) = policy.switches.check_exempt(request);
        let (guard, starts_now) = if exempt {
            (policy.exempt(), true)
        } else if let Some(mut permit) = policy.try_acquire(&request) {
            let starts_now = permit.starts_now();
            (policy.admit(permit), starts_now)
        } else {
            return Self { state: policy.decide(inner, request) };
        };
        let response = policy.response.of(&request);
        if !starts_now {
            let call = Some(Call { inner: inner.clone(), request });
            return Self { state: State::Starting { guard: Some(guard), call, response } };
        }
        // A service that is not ready is polled again with a real waker.
        let state = match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                State::Running { future: inner.call(request), guard: Some(guard), response }
            }
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => {
                // The instance that was polled may have reserved something: that one must be called.
                let other = inner.clone();
                let call = Some(Call { inner: std::mem::replace(inner, other), request });
                State::Starting { guard: Some(guard), call, response }
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
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Queued → Starting when admitted, → Rejected otherwise.
                StateProj::Queued { acquire, queued, policy, call } => {
                    let acquired = ready!(acquire.as_mut().poll(cx));
                    policy.telemetry.dequeued(queued);
                    let call = call.take().expect("taken on leaving this state");
                    let next = match acquired {
                        Ok(permit) => {
                            let response = policy.response.of(&call.request);
                            let (guard, call) = (Some(policy.admit(permit)), Some(call));
                            State::Starting { guard, call, response }
                        }
                        Err(shed) => policy.reject(shed, call.request, true, Instant::now()),
                    };
                    this.state.set(next);
                }
                // Starting → Running when the service inside is ready.
                StateProj::Starting { guard, call, response } => {
                    ready!(guard.as_mut().expect("taken on leaving this state").poll_start(cx));
                    let inner = &mut call.as_mut().expect("taken on leaving this state").inner;
                    ready!(inner.poll_ready(cx))?;
                    let (guard, response) = (guard.take(), response.clone());
                    let Call { mut inner, request } = call.take().expect("present a line ago");
                    let future = inner.call(request);
                    this.state.set(State::Running { future, guard, response });
                }
                // Ends with the head of the response; the body keeps the guard.
                StateProj::Running { future, guard, response: policy } => {
                    let held = guard.as_mut().expect("not polled after completion");
                    // By reference as long as possible: a response is large, and a move is a copy.
                    let mut polled = held.poll_service(future, &policy.classifier, cx);
                    let Poll::Ready(result) = &mut polled else {
                        return Poll::Pending;
                    };
                    held.head_is_ready();
                    let keeps_guard = result.as_mut().is_ok_and(|response| {
                        policy.mark_begun(response);
                        policy.body_holds_permit(response)
                    });
                    let guard = guard.take().filter(|_| keeps_guard);
                    return polled.map_ok(|response| ResponseBody::admitted(response, guard));
                }
                StateProj::Rejected { shed, caller, policy, delay, body } => {
                    if let Some(body) = body.take() {
                        *caller = policy.drain::<_, ResBody>(*caller, body);
                    }
                    ready!(poll_delay(delay.as_mut(), cx));
                    return Poll::Ready(Ok(policy.respond(*shed, *caller)));
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

impl Policy {
    /// A permit, if it needs no decision. A request whose deadline has passed is never admitted; the
    /// clock is read only where there is a deadline.
    #[inline]
    fn try_acquire<B>(&self, request: &Request<B>) -> Option<Permit> {
        let deadline = RequestInfo::deadline_of(request.extensions());
        let is_late = deadline.is_some_and(|at| at <= Instant::now());
        if is_late { None } else { self.limiter.try_acquire_undecided() }
    }

    /// Lets the limiter decide on a request.
    #[cold]
    fn decide<S, B, F, E>(
        self: &Arc<Self>,
        inner: &S,
        request: Request<B>,
    ) -> State<Call<S, B>, B, F, E>
    where
        S: Clone,
    {
        let now = Instant::now();
        let guard = match self.limiter.start_acquire(self.info(&request, now), now) {
            Acquired::Permit(permit) => self.admit(permit),
            Acquired::Queued(acquire) if self.switches.dry_run => self.run_while_queued(acquire),
            Acquired::Rejected(shed) if self.switches.dry_run => self.run_rejected(shed, now),
            Acquired::Queued(acquire) => {
                let (acquire, queued) = (Box::pin(acquire), self.telemetry.queued(now));
                let call = Some(Call { inner: inner.clone(), request });
                return State::Queued { acquire, queued, policy: Arc::clone(self), call };
            }
            Acquired::Rejected(shed) => return self.reject(shed, request, false, now),
        };
        let (guard, response) = (Some(guard), self.response.of(&request));
        State::Starting { guard, call: Some(Call { inner: inner.clone(), request }), response }
    }

    #[inline]
    fn admit(&self, permit: Permit) -> Guard {
        Guard::new(permit, self.telemetry.admitted(&self.limiter))
    }

    /// An exempt request runs at once and takes no permit.
    #[cold]
    fn exempt(&self) -> Guard {
        Guard::uncounted(self.switches.uncounted(), self.telemetry.exempt())
    }

    /// In a dry run, a request that would wait runs, and its ticket waits.
    fn run_while_queued(&self, acquire: Acquire) -> Guard {
        let (limiter, telemetry) = (self.limiter.clone(), self.telemetry.clone());
        let dry_run = DryRun::new(acquire, limiter, telemetry, self.switches.clone());
        Guard::dry_run(dry_run, self.telemetry.in_flight())
    }

    /// In a dry run, a request that would be rejected runs.
    fn run_rejected(&self, shed: Shed, now: Instant) -> Guard {
        self.telemetry.would_reject(shed, &self.limiter, now);
        Guard::uncounted(self.switches.uncounted(), self.telemetry.in_flight())
    }

    /// Rejects a request, at once or after a delay.
    fn reject<B, C, F, E>(
        self: &Arc<Self>,
        shed: Shed,
        request: Request<B>,
        was_queued: bool,
        now: Instant,
    ) -> State<C, B, F, E> {
        self.telemetry.rejected(shed, &self.limiter, now);
        let (caller, deadline) =
            (Caller::of(&request), RequestInfo::deadline_of(request.extensions()));
        let is_flooded = || self.limiter.is_flooded();
        let (shed, delay) = match was_queued && self.delayed.is_for_fractions() {
            true => (self.delayed.round(shed, caller), None),
            false => self.delayed.delay(shed, caller, deadline, is_flooded, now),
        };
        let (policy, body) = (Arc::clone(self), Some(request.into_body()));
        State::Rejected { shed, caller, policy, delay, body }
    }

    /// Has the body of a rejected request read in the background, where that is possible and helps.
    fn drain<B: 'static, R: Body + Send + 'static>(&self, caller: Caller, body: B) -> Caller {
        let Some(drains) = &self.drains else { return caller.without_connection() };
        let is_drained = caller.should_be_drained() && drains.drain::<B, R>(body);
        if is_drained { caller.being_drained() } else { caller }
    }

    fn respond<R: Body>(&self, shed: Shed, caller: Caller) -> Response<ResponseBody<R>> {
        let tickets = self.tickets.as_ref();
        let ticket = tickets.map(|tickets| tickets.issue(Instant::now() + shed.retry_after));
        self.rejection.respond(shed, caller, ticket).map(ResponseBody::rejected)
    }
}

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
