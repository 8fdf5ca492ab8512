//! The future of one attempt.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::coop::poll_proceed;
use tower_service::Service;

use super::attempt::Attempt;
use super::shared::{Origin, Shared, Supervision};
use crate::admission::body::ResponseBody;
use crate::inner::Inner;

pin_project! {
    /// The future of [`Supervised`](super::Supervised).
    #[must_use = "futures do nothing unless polled"]
    pub struct SupervisedFuture<S, T, ReqBody>
    where
        S: Service<Request<ReqBody>>,
        T: Supervision,
    {
        #[pin]
        state: State<S, T, Request<ReqBody>, S::Future, S::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, T, R, F, E>
    where
        T: Supervision,
    {
        // Held, or the service inside is not ready.
        Waiting { waiting: Option<Box<Waiting<S, T, R>>> },
        Running { attempt: Attempt<T>, #[pin] future: F },
        Rejected { response: Option<Response<Bytes>> },
        // The service inside could not be called.
        Failed { error: Option<E> },
    }
}

/// An attempt that is not sent yet. In a box: few attempts wait, and the room for a request would make all futures larger.
struct Waiting<S, T: Supervision, R> {
    attempt: Attempt<T>,
    is_decided: bool,
    inner: S,
    request: R,
}

impl<S, T, ReqBody> SupervisedFuture<S, T, ReqBody>
where
    S: Service<Request<ReqBody>>,
    T: Supervision,
{
    /// Calls the service inside at once if it can: keeping both for later would cost as much as the rest. A request that
    /// may be rejected is shown to `look` before.
    pub(super) fn new(
        inner: &mut impl Inner<S, Request<ReqBody>>,
        request: Request<ReqBody>,
        shared: &Arc<Shared<T>>,
        origin: Arc<Origin<T>>,
        look: impl FnOnce(&Request<ReqBody>),
    ) -> Self {
        let mut attempt = Attempt::new(shared, origin, request.extensions());
        let mut is_decided = attempt.send_if_open();
        if !is_decided {
            look(&request);
            is_decided = match attempt.decide() {
                Ok(held) => held.is_none(),
                Err(shed) => {
                    let response = Some(attempt.respond(shed, &request));
                    return Self { state: State::Rejected { response } };
                }
            };
        }
        let polled = match is_decided {
            true => inner.poll_now(),
            false => Poll::Pending,
        };
        let state = match polled {
            Poll::Ready(Ok(())) => State::Running { attempt, future: inner.call(request) },
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => {
                let inner = inner.take_polled();
                let waiting = Waiting { attempt, is_decided, inner, request };
                State::Waiting { waiting: Some(Box::new(waiting)) }
            }
        };
        Self { state }
    }
}

/// How an attempt came to its response.
pub(super) enum Answer<B> {
    Sent(Response<B>),
    /// This layer made it.
    Rejected(Response<Bytes>),
}

impl<S, T, ReqBody, ResBody> Future for SupervisedFuture<S, T, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    T: Supervision,
    ResBody: Body,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.poll_answer(cx));
        Poll::Ready(answer.map(|answer| match answer {
            Answer::Sent(response) => ResponseBody::unguarded(response),
            Answer::Rejected(response) => response.map(ResponseBody::rejected),
        }))
    }
}

impl<S, T, ReqBody, ResBody> SupervisedFuture<S, T, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    T: Supervision,
{
    /// Polls the attempt, whatever the body of its response is.
    pub(super) fn poll_answer(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer<ResBody>, S::Error>> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Waiting → Running when it may be sent, → Rejected otherwise.
                StateProj::Waiting { waiting: kept } => {
                    let waiting = kept.as_mut().expect("taken on leaving this state");
                    if !waiting.is_decided {
                        if let Err(shed) = ready!(waiting.attempt.poll_decision(cx)) {
                            let response = Some(waiting.attempt.respond(shed, &waiting.request));
                            this.state.set(State::Rejected { response });
                            continue;
                        }
                        waiting.is_decided = true;
                    }
                    ready!(waiting.inner.poll_ready(cx))?;
                    let waiting = *kept.take().expect("present a line ago");
                    let Waiting { mut attempt, mut inner, request, .. } = waiting;
                    attempt.starts();
                    this.state.set(State::Running { attempt, future: inner.call(request) });
                }
                StateProj::Running { attempt, future } => {
                    let mut result = ready!(future.poll(cx));
                    attempt.ended(&mut result);
                    return Poll::Ready(result.map(Answer::Sent));
                }
                StateProj::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("not polled after completion")));
                }
                StateProj::Rejected { response } => {
                    // Nothing else here waits: a caller that retries in a loop must not starve others.
                    ready!(poll_proceed(cx)).made_progress();
                    let response = response.take().expect("not polled after completion");
                    return Poll::Ready(Ok(Answer::Rejected(response)));
                }
            }
        }
    }
}

impl<S, T, ReqBody> fmt::Debug for SupervisedFuture<S, T, ReqBody>
where
    S: Service<Request<ReqBody>>,
    T: Supervision,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedFuture").finish_non_exhaustive()
    }
}
