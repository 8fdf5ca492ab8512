//! One request: its tokens, perhaps a delay, then the service inside or a rejection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tokio::task::coop::poll_proceed;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use super::rules::{Asks, Rules};
use super::running::{Refused, Running, Start};
use crate::admission::body::ResponseBody;
use crate::admission::rejection::{Caller, Rendered};
use crate::inner::{poll_now, take_polled};
use crate::observe::Queued;

pin_project! {
    /// The future of [`WithQuota`](super::WithQuota).
    #[must_use = "futures do nothing unless polled"]
    pub struct QuotaFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, S::Future, S::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F, E> {
        // The store of a shared quota is asked.
        Asking { asking: Option<Box<Asking>>, call: Option<(S, Request<B>)> },
        // Delayed, or the service inside is not ready.
        Waiting { delay: Option<Box<Delay>>, running: Option<Running>, call: Option<(S, Request<B>)> },
        // The service inside runs.
        Running { #[pin] future: F, running: Option<Running> },
        // Rejected. The request's body is kept until something reads it.
        Rejected { refusal: Option<Refusal>, body: Option<B> },
        // The service inside could not be called.
        Failed { error: Option<E> },
    }
}

/// A request that waits for its tokens.
struct Delay {
    sleep: Pin<Box<Sleep>>,
    queued: Queued,
}

/// A request that waits for the answer of a store.
struct Asking {
    rules: Arc<Rules>,
    asks: Asks,
    answer: Pin<Box<OwnedNotified>>,
    until: Pin<Box<Sleep>>,
    queued: Queued,
}

/// A request that is rejected.
struct Refusal {
    rules: Arc<Rules>,
    refused: Refused,
    caller: Caller,
    rendered: Option<Rendered>,
}

impl<S, ReqBody> QuotaFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>> + Clone,
{
    /// Calls the service inside at once if it can: keeping both for later would cost as much as the rest.
    pub(crate) fn new(inner: &mut S, request: Request<ReqBody>, rules: &Arc<Rules>) -> Self {
        let (request, is_exempt) = rules.switches.check_exempt(request);
        if is_exempt {
            let running = rules.start_exempt(&request);
            return Self { state: State::run(inner, request, running, Duration::ZERO) };
        }
        let (mut request, asks) = rules.read(request);
        let state = match rules.start(&mut request, asks, true) {
            Start::Run(running, delay) => State::run(inner, request, running, delay),
            Start::Refuse(refused) => State::refuse(rules, refused, request),
            Start::Ask(max_wait, answer) => {
                let asking = Asking {
                    rules: Arc::clone(rules),
                    asks,
                    answer: Box::pin(answer),
                    until: Box::pin(sleep(max_wait)),
                    queued: rules.telemetry.queued(Instant::now()),
                };
                State::Asking {
                    asking: Some(Box::new(asking)),
                    call: Some((inner.clone(), request)),
                }
            }
        };
        Self { state }
    }
}

impl<S, B> State<S, B, S::Future, S::Error>
where
    S: Service<Request<B>> + Clone,
{
    fn run(inner: &mut S, request: Request<B>, mut running: Running, delay: Duration) -> Self {
        // A service that is not ready is polled again with a real waker.
        let polled = match delay.is_zero() {
            true => poll_now(inner),
            false => Poll::Pending,
        };
        match polled {
            Poll::Ready(Ok(())) => {
                running.begins(Duration::ZERO);
                // A layer inside may decide in its `call`.
                let inside = running.enter();
                let future = inner.call(request);
                drop(inside);
                Self::Running { future, running: Some(running) }
            }
            Poll::Ready(Err(error)) => Self::Failed { error: Some(error) },
            Poll::Pending => Self::wait(take_polled(inner), request, running, delay),
        }
    }
}

impl<S, B, F, E> State<S, B, F, E> {
    fn refuse(rules: &Arc<Rules>, refused: Refused, request: Request<B>) -> Self {
        let caller = Caller::of(&request);
        let (head, body) = request.into_parts();
        let rendered = rules.rejection.render(refused.shed, caller, &head);
        let refusal = Refusal { rules: Arc::clone(rules), refused, caller, rendered };
        Self::Rejected { refusal: Some(refusal), body: Some(body) }
    }

    /// Waits for this time, and until the service inside is ready.
    fn wait(inner: S, request: Request<B>, running: Running, delay: Duration) -> Self {
        let queued = || running.rules().telemetry.queued(Instant::now());
        let wait = || Box::new(Delay { sleep: Box::pin(sleep(delay)), queued: queued() });
        let delay = (!delay.is_zero()).then(wait);
        Self::Waiting { delay, running: Some(running), call: Some((inner, request)) }
    }
}

impl<S, ReqBody, ResBody> Future for QuotaFuture<S, ReqBody>
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
                // Asking → Waiting, Running or Rejected when the store has answered, or the time is over.
                StateProj::Asking { asking, call } => {
                    let waiting = asking.as_mut().expect("taken on leaving this state");
                    let (_, request) = call.as_mut().expect("taken on leaving this state");
                    let start = ready!(waiting.poll_start(request, cx));
                    let rules = Arc::clone(&waiting.rules);
                    let (inner, request) = call.take().expect("present a line ago");
                    let next = match start {
                        Ok((running, delay)) => State::wait(inner, request, running, delay),
                        Err(refused) => State::refuse(&rules, refused, request),
                    };
                    this.state.set(next);
                }
                // Waiting → Running when its tokens are there and the service inside is ready.
                StateProj::Waiting { delay, running, call } => {
                    let mut waited = Duration::ZERO;
                    if let Some(delay) = delay.as_mut() {
                        ready!(delay.sleep.as_mut().poll(cx));
                        waited = delay.queued.decided(true);
                    }
                    *delay = None;
                    let inner = &mut call.as_mut().expect("taken on leaving this state").0;
                    ready!(inner.poll_ready(cx))?;
                    let (mut inner, request) = call.take().expect("present a line ago");
                    let mut running = running.take().expect("taken on leaving this state");
                    running.begins(waited);
                    let inside = running.enter();
                    let future = inner.call(request);
                    drop(inside);
                    this.state.set(State::Running { future, running: Some(running) });
                }
                // Ends with the head of the response; the body keeps what counts the request.
                StateProj::Running { future, running } => {
                    let inside = running.as_ref().and_then(Running::enter);
                    let polled = future.poll(cx);
                    drop(inside);
                    let result = ready!(polled);
                    let running = running.take().expect("not polled after completion");
                    return Poll::Ready(result.map(|response| running.respond(response)));
                }
                StateProj::Rejected { refusal, body } => {
                    let refused = refusal.as_mut().expect("not polled after completion");
                    if let Some(body) = body.take() {
                        refused.drain::<_, ResBody>(body);
                    }
                    // Nothing else here waits: a client that retries in a loop must not starve others.
                    ready!(poll_proceed(cx)).made_progress();
                    let refusal = refusal.take().expect("present a line ago");
                    return Poll::Ready(Ok(refusal.respond()));
                }
                StateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("not polled after completion")));
                }
            }
        }
    }
}

impl Asking {
    /// Ready when it is decided whether the request runs, and after which time.
    fn poll_start<B>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Running, Duration), Refused>> {
        loop {
            let is_over = self.until.as_mut().poll(cx).is_ready();
            if !is_over {
                ready!(self.answer.as_mut().poll(cx));
            }
            match self.rules.start(request, self.asks, !is_over) {
                Start::Ask(_, answer) => self.answer = Box::pin(answer),
                Start::Run(running, delay) => {
                    self.queued.decided(true);
                    return Poll::Ready(Ok((running, delay)));
                }
                Start::Refuse(refused) => {
                    self.queued.decided(false);
                    return Poll::Ready(Err(refused));
                }
            }
        }
    }
}

impl Refusal {
    /// Has the body of the request read in the background, where that is possible and helps.
    fn drain<B: 'static, R: Body + Send + 'static>(&mut self, body: B) {
        let drains = &self.rules.drains;
        if self.caller.should_be_drained() && drains.drain::<B, R>(body) {
            self.caller = self.caller.being_drained();
        }
    }

    fn respond<R: Body>(self) -> Response<ResponseBody<R>> {
        let Self { rules, refused: Refused { shed, exceeded }, caller, rendered } = self;
        let is_ours = rendered.is_none();
        let mut response = rules.rejection.respond(shed, caller, None, rendered);
        if let Some((rejection, decided)) = exceeded {
            let has_problem = response.headers().get(header::CONTENT_TYPE);
            if is_ours && has_problem.is_some_and(|kind| kind == "application/problem+json") {
                *response.body_mut() = decided.plan.problem(rejection);
            }
            let headers = response.headers_mut();
            decided.plan.write_exceeded(rules.fields, headers, rejection, shed.retry_after);
        }
        response.map(ResponseBody::rejected)
    }
}

impl<S, ReqBody> fmt::Debug for QuotaFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaFuture").finish_non_exhaustive()
    }
}
