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
use crate::trial::Trial;

pin_project! {
    /// The future of [`Admission`](super::Admission) and of
    /// [`OriginLimit`](crate::client::OriginLimit).
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
        // Waits to be let in.
        Entering { enter: Pin<Box<Enter>>, waiting: Waiting, shared: Arc<Shared>, call: Option<C> },
        // Let in; the inner service is not called yet.
        Starting { held: Option<Held>, call: Option<C>, ending: Ending },
        // The inner service runs.
        Running { #[pin] future: F, held: Option<Held>, ending: Ending },
        // Turned away at once, or held. The body is there until something reads it.
        Refused {
            shed: Shed,
            caller: Caller,
            shared: Arc<Shared>,
            hold: Option<Hold>,
            body: Option<B>,
        },
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
        let (request, exempt) = shared.switches.look(request);
        let mut held = if exempt {
            shared.exempt()
        } else if let Some(permit) = pass(&request, shared) {
            shared.hold(permit)
        } else {
            return Self { state: ask(inner, request, shared) };
        };
        let ending = shared.ending.of(&request);
        if !held.begin() {
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

/// Enters if nobody has to be asked. An answer after the deadline is worthless even where there is
/// room for it.
#[inline]
fn pass<B>(request: &Request<B>, shared: &Shared) -> Option<Permit> {
    if is_late(request) { None } else { shared.gate.pass() }
}

/// Asks the gate, and keeps what it takes to do as it says.
#[cold]
fn ask<S, B, F, E>(
    inner: &S,
    request: Request<B>,
    shared: &Arc<Shared>,
) -> State<Call<S, B>, B, F, E>
where
    S: Clone,
{
    let now = Instant::now();
    let held = match shared.gate.ask(shared.arrival(&request, now), now) {
        Asked::Admitted(permit) => shared.hold(permit),
        Asked::Waiting(enter) if shared.switches.dry_run => shared.tries(enter),
        Asked::Refused(shed) if shared.switches.dry_run => shared.lets_through(shed, now),
        Asked::Waiting(enter) => {
            let (enter, waiting) = (Box::pin(enter), shared.observer.waits(now));
            let call = Some(Call { inner: inner.clone(), request });
            return State::Entering { enter, waiting, shared: Arc::clone(shared), call };
        }
        Asked::Refused(shed) => return shared.turn_away(shed, request, false, now),
    };
    let (held, ending) = (Some(held), shared.ending.of(&request));
    State::Starting { held, call: Some(Call { inner: inner.clone(), request }), ending }
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
                // Entering → Starting when let in, → Refused when turned away.
                StateProj::Entering { enter, waiting, shared, call } => {
                    let entered = ready!(enter.as_mut().poll(cx));
                    shared.observer.waited(waiting);
                    let call = call.take().expect("taken when left");
                    match entered {
                        Ok(permit) => {
                            let ending = shared.ending.of(&call.request);
                            let (held, call) = (Some(shared.hold(permit)), Some(call));
                            this.state.set(State::Starting { held, call, ending });
                        }
                        Err(shed) => {
                            let refused =
                                shared.turn_away(shed, call.request, true, Instant::now());
                            this.state.set(refused);
                        }
                    }
                }
                // Starting → Running when the inner service is ready.
                StateProj::Starting { held, call, ending } => {
                    ready!(held.as_mut().expect("taken when left").poll_begin(cx));
                    let inner = &mut call.as_mut().expect("taken when left").inner;
                    ready!(inner.poll_ready(cx))?;
                    let (held, ending) = (held.take(), ending.clone());
                    let Call { mut inner, request } = call.take().expect("was there a line ago");
                    let future = inner.call(request);
                    this.state.set(State::Running { future, held, ending });
                }
                // Ends with the head; the place goes on with the body.
                StateProj::Running { future, held, ending } => {
                    let permit = held.as_mut().expect("polled after it ended");
                    // By reference as long as possible: a response is large, and a move is a copy.
                    let mut polled = permit.poll_work(future, &ending.classifier, cx);
                    let Poll::Ready(answer) = &mut polled else {
                        return Poll::Pending;
                    };
                    let place = held.take().expect("was there a line ago").into_place();
                    let held = answer.as_mut().ok().and_then(|response| {
                        ending.sign(response);
                        ending.keep(place, response)
                    });
                    return polled.map_ok(|response| ResponseBody::admit(response, held));
                }
                StateProj::Refused { shed, caller, shared, hold, body } => {
                    if let Some(body) = body.take() {
                        *caller = shared.read::<_, ResBody>(*caller, body);
                    }
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
        request: Request<B>,
        has_waited: bool,
        now: Instant,
    ) -> State<C, B, F, E> {
        self.observer.shed(shed, &self.gate, now);
        let (caller, deadline) = (Caller::of(&request), request.extensions().get());
        let deadline = deadline.map(|&Deadline(at)| at);
        let is_flooded = || self.gate.is_flooded();
        let (shed, hold) = match has_waited && self.holding.is_for_fractions() {
            true => (self.holding.round(shed, caller), None),
            false => self.holding.hold(shed, caller, deadline, is_flooded, now),
        };
        let (shared, body) = (Arc::clone(self), Some(request.into_body()));
        State::Refused { shed, caller, shared, hold, body }
    }

    /// An exempt request runs at once and without a place of the gate's.
    #[cold]
    fn exempt(&self) -> Held {
        Held::free(self.switches.free(), self.observer.exempt())
    }

    /// A dry run: a request that would wait runs, and its ticket waits.
    fn tries(&self, enter: Enter) -> Held {
        let (gate, observer) = (self.gate.clone(), self.observer.clone());
        let trial = Trial::new(enter, gate, observer, self.switches.clone());
        Held::trial(trial, self.observer.runs())
    }

    /// A dry run: a request that would be refused runs.
    fn lets_through(&self, shed: Shed, now: Instant) -> Held {
        self.observer.would_reject(shed, &self.gate, now);
        Held::free(self.switches.free(), self.observer.runs())
    }

    /// Has the body of a refused request read, as far as that can be done and helps.
    fn read<B: 'static, R: Body + Send + 'static>(&self, caller: Caller, body: B) -> Caller {
        let Some(drains) = &self.drains else { return caller.without_connection() };
        let is_read = caller.should_be_read() && drains.read::<B, R>(body);
        if is_read { caller.being_read() } else { caller }
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
