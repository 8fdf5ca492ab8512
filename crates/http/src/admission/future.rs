//! One request on its way through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use backpressure_gate::{Asked, Enter, Permit, Shed};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::coop::poll_proceed;
use tokio::time::Instant;
use tower_service::Service;

use super::Shared;
use super::ending::Ending;
use super::holding::Hold;
use crate::body::ResponseBody;
use crate::deadline::Deadline;
use crate::held::Held;
use crate::observe::Waiting;
use crate::rejection::Caller;

pin_project! {
    /// The future of [`Admission`](super::Admission) and of
    /// [`OriginLimit`](crate::client::OriginLimit).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<Call<S, ReqBody>, S::Future, S::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<C, F, E> {
        // Waits to be let in.
        Entering { enter: Pin<Box<Enter>>, waiting: Waiting, shared: Arc<Shared>, call: Option<C> },
        // Let in; the inner service is not called yet.
        Starting { held: Option<Held>, call: Option<C>, ending: Ending },
        // The inner service runs.
        Running { #[pin] future: F, held: Option<Held>, ending: Ending },
        // Turned away at once, or held.
        Refused { shed: Shed, caller: Caller, shared: Arc<Shared>, hold: Option<Hold> },
        // The inner service could not be called.
        Failed { error: Option<E> },
    }
}

/// What it takes to call the inner service later.
struct Call<S, ReqBody> {
    inner: S,
    request: Request<ReqBody>,
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>> + Clone,
{
    /// Calls the inner service at once if nothing stands in the way: to keep it, the request and
    /// the layer for later would cost as much as all the rest.
    pub(crate) fn new(inner: &mut S, request: Request<ReqBody>, shared: &Arc<Shared>) -> Self {
        // An answer after the deadline is worthless even where there is room for it.
        let permit = if is_late(&request) { None } else { shared.gate.pass() };
        let Some(permit) = permit else {
            return Self { state: ask(inner, request, shared) };
        };
        let mut held = shared.hold(permit);
        let ending = shared.ending.of(&request, &shared.gate);
        if !held.permit().begin() {
            let call = Some(Call { inner: inner.clone(), request });
            return Self { state: State::Starting { held: Some(held), call, ending } };
        }
        // Whoever is not ready is asked again with a waker to be woken by.
        let state = match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                State::Running { future: inner.call(request), held: Some(held), ending }
            }
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => {
                // The one that was asked may have reserved something: it is the one to be called.
                let other = inner.clone();
                let call = Some(Call { inner: std::mem::replace(inner, other), request });
                State::Starting { held: Some(held), call, ending }
            }
        };
        Self { state }
    }
}

/// Whether the caller's deadline has passed. Reads the clock only where there is one.
#[inline]
fn is_late<B>(request: &Request<B>) -> bool {
    let deadline = request.extensions().get::<Deadline>();
    deadline.is_some_and(|&Deadline(at)| at <= Instant::now())
}

/// Asks the gate, and keeps what it takes to do as it says.
#[cold]
fn ask<S, B, F, E>(inner: &S, request: Request<B>, shared: &Arc<Shared>) -> State<Call<S, B>, F, E>
where
    S: Clone,
{
    let now = Instant::now();
    match shared.gate.ask(shared.arrival(&request, now), now) {
        Asked::Admitted(permit) => {
            let (held, ending) =
                (Some(shared.hold(permit)), shared.ending.of(&request, &shared.gate));
            State::Starting { held, call: Some(Call { inner: inner.clone(), request }), ending }
        }
        Asked::Waiting(enter) => {
            let (enter, waiting) = (Box::pin(enter), shared.observer.waits(now));
            let call = Some(Call { inner: inner.clone(), request });
            State::Entering { enter, waiting, shared: Arc::clone(shared), call }
        }
        Asked::Refused(shed) => shared.turn_away(shed, &request, false, now),
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Entering → Starting when let in, → Refused when turned away.
                StateProj::Entering { enter, waiting, shared, call } => {
                    let entered = ready!(enter.as_mut().poll(cx));
                    shared.observer.waited(waiting);
                    let request = &call.as_ref().expect("taken when left").request;
                    match entered {
                        Ok(permit) => {
                            let ending = shared.ending.of(request, &shared.gate);
                            let (held, call) = (Some(shared.hold(permit)), call.take());
                            this.state.set(State::Starting { held, call, ending });
                        }
                        Err(shed) => {
                            let refused = shared.turn_away(shed, request, true, Instant::now());
                            this.state.set(refused);
                        }
                    }
                }
                // Starting → Running when the inner service is ready.
                StateProj::Starting { held, call, ending } => {
                    let permit = held.as_mut().expect("taken when left").permit();
                    ready!(permit.poll_begin(cx));
                    let inner = &mut call.as_mut().expect("taken when left").inner;
                    ready!(inner.poll_ready(cx))?;
                    let (held, ending) = (held.take(), ending.clone());
                    let Call { mut inner, request } = call.take().expect("was there a line ago");
                    let future = inner.call(request);
                    this.state.set(State::Running { future, held, ending });
                }
                // Ends with the head; the place goes on with the body.
                StateProj::Running { future, held, ending } => {
                    let permit = held.as_mut().expect("polled after it ended").permit();
                    // By reference as long as possible: a response is large, and a move is a copy.
                    let mut polled = permit.poll_measured(future, cx);
                    let Poll::Ready(answer) = &mut polled else {
                        return Poll::Pending;
                    };
                    if permit.is_measured() {
                        permit.record(ending.teaches(answer));
                    }
                    let place = held.take().expect("was there a line ago").into_place();
                    let held = answer.as_mut().ok().and_then(|response| {
                        ending.sign(response);
                        ending.keep(place, response)
                    });
                    return polled.map_ok(|response| ResponseBody::admit(response, held));
                }
                StateProj::Refused { shed, caller, shared, hold } => {
                    ready!(poll_refused(hold.as_mut(), cx));
                    return Poll::Ready(Ok(shared.refuse(*shed, *caller)));
                }
                StateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("polled after it ended")));
                }
            }
        }
    }
}

/// Ready when a refusal has been held for as long as it is to be.
fn poll_refused(hold: Option<&mut Hold>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(hold) = hold {
        ready!(hold.poll_over(cx));
    }
    // Nothing else in here waits: who asks again at once must not keep the thread.
    ready!(poll_proceed(cx)).made_progress();
    Poll::Ready(())
}

impl Shared {
    #[inline]
    fn hold(&self, permit: Permit) -> Held {
        Held::new(permit, self.observer.admitted(&self.gate))
    }

    /// Refuses a request, at once or after a hold.
    fn turn_away<B, C, F, E>(
        self: &Arc<Self>,
        shed: Shed,
        request: &Request<B>,
        has_waited: bool,
        now: Instant,
    ) -> State<C, F, E> {
        self.observer.shed(shed, &self.gate, now);
        let (caller, deadline) = (Caller::of(request), request.extensions().get());
        let deadline = deadline.map(|&Deadline(at)| at);
        let is_flooded = || self.gate.is_flooded();
        let (shed, hold) = match has_waited && self.holding.is_for_fractions() {
            true => (self.holding.round(shed, caller), None),
            false => self.holding.hold(shed, caller, deadline, is_flooded, now),
        };
        State::Refused { shed, caller, shared: Arc::clone(self), hold }
    }

    fn refuse<R: Body>(&self, shed: Shed, caller: Caller) -> Response<ResponseBody<R>> {
        let ticket = self.tickets.as_ref();
        let ticket = ticket.map(|tickets| tickets.issue(Instant::now() + shed.retry_after));
        self.rejection.answer(shed, caller, ticket).map(ResponseBody::refused)
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
