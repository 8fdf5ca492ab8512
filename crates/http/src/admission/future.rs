//! One request on its way through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_gate::{Enter, Outcome, Permit, Shed};
use http::{Method, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{PermitScope, Shared};
use crate::body::ResponseBody;
use crate::classify::classify;
use crate::held::Held;
use crate::observe::Waiting;
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
        // Both are there until the inner service is called.
        inner: Option<S>,
        request: Option<Request<ReqBody>>,
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // Waits to be let in.
        Entering { #[pin] enter: Enter, waiting: Waiting },
        // Let in; the inner service is not called yet.
        Starting { held: Option<Held> },
        // The inner service runs.
        Running { #[pin] future: F, held: Option<Held> },
    }
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn new(inner: S, request: Request<ReqBody>, shared: Arc<Shared>) -> Self {
        let state = match shared.gate.pass() {
            Some(permit) => State::Starting { held: Some(shared.hold(permit)) },
            None => State::Entering {
                enter: shared.gate.enter(shared.arrival(request.extensions())),
                waiting: shared.observer.waits(),
            },
        };
        let is_head = request.method() == Method::HEAD;
        Self { shared, is_head, inner: Some(inner), request: Some(request), state }
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
                StateProj::Entering { enter, waiting } => {
                    let entered = ready!(enter.poll(cx));
                    this.shared.observer.waited(waiting);
                    match entered {
                        Ok(permit) => {
                            let held = Some(this.shared.hold(permit));
                            this.state.set(State::Starting { held });
                        }
                        Err(shed) => {
                            let request = this.request.as_ref().expect("taken when called");
                            return Poll::Ready(Ok(this.shared.refuse(shed, request)));
                        }
                    }
                }
                // Starting → Running when the inner service is ready.
                StateProj::Starting { held } => {
                    let permit = held.as_mut().expect("taken when left").permit();
                    ready!(permit.poll_begin(cx));
                    let inner = this.inner.as_mut().expect("taken when called");
                    ready!(inner.poll_ready(cx))?;
                    let held = held.take();
                    let request = this.request.take().expect("taken when called");
                    let future = inner.call(request);
                    *this.inner = None;
                    this.state.set(State::Running { future, held });
                }
                // Ends with the head; the permit goes on with the body.
                StateProj::Running { future, held } => {
                    let permit = held.as_mut().expect("polled after it ended").permit();
                    let answer = ready!(permit.poll_measured(future, cx));
                    let held = held.take().expect("was there a line ago");
                    return Poll::Ready(this.shared.finish(answer, held, *this.is_head));
                }
            }
        }
    }
}

impl Shared {
    fn hold(&self, permit: Permit) -> Held {
        Held::new(permit, self.observer.admitted(&self.gate))
    }

    fn refuse<B, R: Body>(&self, shed: Shed, request: &Request<B>) -> Response<ResponseBody<R>> {
        self.observer.shed(shed, &self.gate);
        self.rejection.answer(shed, Caller::of(request)).map(ResponseBody::refused)
    }

    fn finish<R: Body, E>(
        &self,
        answer: Result<Response<R>, E>,
        mut held: Held,
        is_head: bool,
    ) -> Result<Response<ResponseBody<R>>, E> {
        let outcome = answer.as_ref().map_or(Outcome::Ignore, classify);
        held.permit().record(outcome);
        self.observer.recorded(&self.gate);
        let mut response = answer?;
        crate::rejection::disown(&mut response);
        let held = self.holds_body(&response, is_head).then_some(held);
        Ok(ResponseBody::admit(response, held))
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
