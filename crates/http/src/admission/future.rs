//! One request on its way through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use backpressure_gate::{Asked, Enter, Outcome, Permit, Place, Shed};
use http::{Method, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{PermitScope, Shared};
use crate::body::ResponseBody;
use crate::classify::classify;
use crate::held::Held;
use crate::rejection::Caller;

pin_project! {
    /// The future of [`Admission`](super::Admission).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        shared: Arc<Shared>,
        is_head: bool,
        #[pin]
        state: State<Call<S, ReqBody>, S::Future, S::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<C, F, E> {
        // Waits to be let in.
        Entering { enter: Pin<Box<Enter>>, since: Instant, call: Option<C> },
        // Let in; the inner service is not called yet.
        Starting { held: Option<Held>, call: Option<C> },
        // The inner service runs.
        Running { #[pin] future: F, held: Option<Held> },
        // Turned away at once.
        Refused { shed: Shed, caller: Caller },
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
    /// Calls the inner service at once if nothing stands in the way: to keep it and the request
    /// for later would cost as much as all the rest.
    pub(super) fn new(inner: &mut S, request: Request<ReqBody>, shared: Arc<Shared>) -> Self {
        let is_head = request.method() == Method::HEAD;
        let Some(permit) = shared.gate.pass() else {
            return Self::ask(inner, request, shared);
        };
        let mut held = shared.hold(permit);
        if !held.permit().begin() {
            return Self::later(inner.clone(), request, shared, held);
        }
        // Whoever is not ready is asked again with a waker to be woken by.
        match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                let state = State::Running { future: inner.call(request), held: Some(held) };
                Self { shared, is_head, state }
            }
            Poll::Ready(Err(error)) => {
                Self { shared, is_head, state: State::Failed { error: Some(error) } }
            }
            Poll::Pending => {
                // The one that was asked may have reserved something: it is the one to be called.
                let other = inner.clone();
                Self::later(std::mem::replace(inner, other), request, shared, held)
            }
        }
    }

    /// Asks the gate, and keeps what it takes to do as it says.
    #[cold]
    fn ask(inner: &mut S, request: Request<ReqBody>, shared: Arc<Shared>) -> Self {
        let is_head = request.method() == Method::HEAD;
        let now = Instant::now();
        let state = match shared.gate.ask(shared.arrival(request.extensions()), now) {
            Asked::Admitted(permit) => {
                shared.observer.waited(Duration::ZERO);
                let held = Some(shared.hold(permit));
                let call = Some(Call { inner: inner.clone(), request });
                State::Starting { held, call }
            }
            Asked::Waiting(enter) => {
                let call = Some(Call { inner: inner.clone(), request });
                State::Entering { enter: Box::pin(enter), since: now, call }
            }
            Asked::Refused(shed) => {
                shared.observer.waited(Duration::ZERO);
                shared.observer.shed(shed, &shared.gate, now);
                State::Refused { shed, caller: Caller::of(&request) }
            }
        };
        Self { shared, is_head, state }
    }

    #[cold]
    fn later(inner: S, request: Request<ReqBody>, shared: Arc<Shared>, held: Held) -> Self {
        let is_head = request.method() == Method::HEAD;
        let call = Some(Call { inner, request });
        Self { shared, is_head, state: State::Starting { held: Some(held), call } }
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
                // Entering → Starting when let in; ends when turned away.
                StateProj::Entering { enter, since, call } => {
                    let entered = ready!(enter.as_mut().poll(cx));
                    this.shared.observer.waited(since.elapsed());
                    let call = call.take();
                    match entered {
                        Ok(permit) => {
                            let held = Some(this.shared.hold(permit));
                            this.state.set(State::Starting { held, call });
                        }
                        Err(shed) => {
                            let request = call.expect("taken when left").request;
                            let caller = Caller::of(&request);
                            this.shared.observer.shed(shed, &this.shared.gate, Instant::now());
                            return Poll::Ready(Ok(this.shared.refuse(shed, caller)));
                        }
                    }
                }
                // Starting → Running when the inner service is ready.
                StateProj::Starting { held, call } => {
                    let permit = held.as_mut().expect("taken when left").permit();
                    ready!(permit.poll_begin(cx));
                    let inner = &mut call.as_mut().expect("taken when left").inner;
                    ready!(inner.poll_ready(cx))?;
                    let held = held.take();
                    let Call { mut inner, request } = call.take().expect("was there a line ago");
                    let future = inner.call(request);
                    this.state.set(State::Running { future, held });
                }
                // Ends with the head; the permit goes on with the body.
                StateProj::Running { future, held } => {
                    let permit = held.as_mut().expect("polled after it ended").permit();
                    // By reference as long as possible: a response is large, and a move is a copy.
                    let mut polled = permit.poll_measured(future, cx);
                    let Poll::Ready(answer) = &mut polled else {
                        return Poll::Pending;
                    };
                    permit.record(answer.as_ref().map_or(Outcome::Ignore, classify));
                    this.shared.observer.recorded(&this.shared.gate);
                    let place = held.take().expect("was there a line ago").into_place();
                    let response = answer.as_mut().ok();
                    let held = response.and_then(|it| this.shared.keep(place, it, *this.is_head));
                    return polled.map_ok(|response| ResponseBody::admit(response, held));
                }
                StateProj::Refused { shed, caller } => {
                    return Poll::Ready(Ok(this.shared.refuse(*shed, *caller)));
                }
                StateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("polled after it ended")));
                }
            }
        }
    }
}

impl Shared {
    #[inline]
    fn hold(&self, permit: Permit) -> Held {
        Held::new(permit, self.observer.admitted(&self.gate))
    }

    fn refuse<R: Body>(&self, shed: Shed, caller: Caller) -> Response<ResponseBody<R>> {
        self.rejection.answer(shed, caller).map(ResponseBody::refused)
    }

    /// What the body of this response is to hold.
    fn keep<R>(
        &self,
        place: Held<Place>,
        response: &mut Response<R>,
        is_head: bool,
    ) -> Option<Held<Place>> {
        crate::rejection::disown(response);
        self.holds_body(response, is_head).then_some(place)
    }

    /// Whether the permit goes on with the body.
    fn holds_body<R>(&self, response: &Response<R>, is_head: bool) -> bool {
        let bodyless = is_head
            || response.status().is_informational()
            || matches!(response.status().as_u16(), 204 | 304);
        let streams = || {
            let kind = response.headers().get(header::CONTENT_TYPE);
            kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
        };
        self.scope == PermitScope::Body && !bodyless && !(self.frees_streams && streams())
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
