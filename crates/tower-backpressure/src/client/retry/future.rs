//! The future of one request: its attempts and the waits between them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::policy::{Grant, Policy, Progress};
use crate::admission::return_ticket::RETURN_TICKET;
use crate::client::attempts::Attempts;
use crate::client::budget::Withdrawal;
use crate::client::classify::is_idempotent;
use crate::client::replay::{Replay, ResponseHead};

pin_project! {
    /// The future of [`Retry`](crate::client::Retry): attempts and the waits between them.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req>
    where
        S: Service<Req>,
    {
        policy: Arc<Policy>,
        progress: Progress,
        inner: S,
        // What the next attempt sends; during an attempt, the copy for a retry.
        request: Option<Req>,
        // Pays for the next attempt. `None` for the first attempt and for a retry with a ticket, which
        // are free.
        withdrawal: Option<Withdrawal>,
        #[pin]
        step: Step<S::Future>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Ready,
        Attempt { #[pin] future: F },
        Wait { #[pin] sleep: Sleep },
    }
}

impl<S, Req> ResponseFuture<S, Req>
where
    S: Service<Req>,
    Req: Replay,
{
    pub(super) fn new(policy: Arc<Policy>, inner: S, request: Req) -> Self {
        let from_layer = Instant::now().checked_add(policy.deadline);
        let progress = Progress {
            attempts: 0,
            idempotent: is_idempotent(request.method(), request.headers()),
            replayable: false,
            deadline: from_layer.into_iter().chain(request.deadline()).min(),
        };
        Self {
            policy,
            progress,
            inner,
            request: Some(request),
            withdrawal: None,
            step: Step::Ready,
        }
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Response: ResponseHead,
    Req: Replay,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project().step.project() {
                // Ready -> Attempt, once the service inside is ready.
                StepProjection::Ready => {
                    ready!(self.as_mut().project().inner.poll_ready(cx))?;
                    self.as_mut().send_attempt();
                }
                // Attempt -> Wait, or the end.
                StepProjection::Attempt { future } => {
                    let outcome = ready!(future.poll(cx));
                    if let Some(last) = self.as_mut().finish_attempt(outcome) {
                        return Poll::Ready(last);
                    }
                }
                // Wait -> Ready, never early.
                StepProjection::Wait { sleep } => {
                    ready!(sleep.poll(cx));
                    self.as_mut().project().step.set(Step::Ready);
                }
            }
        }
    }
}

impl<S, Req> ResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Response: ResponseHead,
    Req: Replay,
{
    fn send_attempt(self: Pin<&mut Self>) {
        let mut this = self.project();
        let request = this.request.take().expect("not polled after completion");
        this.progress.attempts += 1;
        if this.progress.attempts < this.policy.max_attempts {
            *this.request = request.replay();
        }
        this.progress.replayable = this.request.is_some();
        if let Some(withdrawal) = this.withdrawal.take() {
            withdrawal.spend();
        }
        match this.progress.attempts {
            1 => this.policy.budget.deposit(),
            _ => this.policy.telemetry.retried(),
        }
        let future = this.inner.call(request);
        this.step.set(Step::Attempt { future });
    }

    /// Returns the outcome of an attempt if it is the last. Otherwise the outcome is dropped with the
    /// attempt, before the wait: it may hold a permit that another request can use meanwhile.
    fn finish_attempt(
        self: Pin<&mut Self>,
        mut outcome: Result<S::Response, S::Error>,
    ) -> Option<Result<S::Response, S::Error>> {
        let mut this = self.project();
        let Some(Grant { at, withdrawal, ticket }) =
            this.policy.grant_retry(this.progress, &outcome)
        else {
            *this.request = None;
            if let (Ok(response), 2..) = (&mut outcome, this.progress.attempts) {
                let attempts = Attempts(this.progress.attempts);
                response.extensions_mut().insert(attempts);
            }
            this.step.set(Step::Ready);
            return Some(outcome);
        };
        *this.withdrawal = withdrawal;
        if let (Some(request), Some(ticket)) = (&mut this.request, ticket) {
            request.headers_mut().insert(RETURN_TICKET, ticket);
        }
        let sleep = sleep_until(at);
        this.step.set(Step::Wait { sleep });
        None
    }
}

impl<S, Req> fmt::Debug for ResponseFuture<S, Req>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("progress", &self.progress).finish_non_exhaustive()
    }
}
