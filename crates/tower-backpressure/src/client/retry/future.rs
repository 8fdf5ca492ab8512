//! The future of one request: its attempts and the waits between them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::drain::{Drain, MAX_DRAIN_TIME};
use super::payment::Payment;
use super::policy::{Grant, Policy};
use super::progress::Progress;
use crate::admission::return_ticket::RETURN_TICKET;
use crate::client::attempts::{AttemptInProgress, Attempts};
use crate::client::expiry::Expiry;
use crate::client::gave_up::{GaveUp, GiveUpReason};
use crate::client::replay::{ByClone, KeepForRetry, RequestHead, ResponseHead};

pin_project! {
    /// The future of [`Retry`](crate::client::Retry): attempts and the waits between them.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, R = ByClone>
    where
        S: Service<Req>,
        S::Response: ResponseHead,
        R: KeepForRetry<Req>,
    {
        policy: Arc<Policy>,
        progress: Progress,
        replay: R,
        inner: S,
        // What the next attempt sends; during an attempt, what is kept for a retry.
        request: Option<R::Kept>,
        // Pays for the next attempt; `None` for the first one.
        payment: Option<Payment>,
        // The end of a wait. In the other steps the deadline, unless the client inside ends attempts.
        #[pin]
        timer: Option<Expiry>,
        #[pin]
        step: Step<S::Future, <S::Response as ResponseHead>::Body>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, B> {
        Ready,
        Attempt { #[pin] future: F },
        Wait {
            at: Instant,
            #[pin]
            drain: Option<Drain<B>>,
        },
        Finished,
    }
}

impl<S, Req, R> ResponseFuture<S, Req, R>
where
    S: Service<Req, Error: 'static>,
    S::Response: ResponseHead,
    R: KeepForRetry<Req>,
{
    pub(super) fn new(policy: Arc<Policy>, replay: R, inner: S, request: Req) -> Self {
        let mut request = replay.keep(request);
        let progress = Progress::of(&policy.request, &mut request);
        let timer = progress.cut_by_layer::<S::Response>().map(Expiry::at);
        Self {
            policy,
            progress,
            replay,
            inner,
            request: Some(request),
            payment: None,
            timer,
            step: Step::Ready,
        }
    }
}

impl<S, Req, R> ResponseFuture<S, Req, R>
where
    S: Service<Req>,
    S::Response: ResponseHead,
    R: KeepForRetry<Req>,
{
    /// Why a failure was returned, once the future is ready; `None` before, and after a success.
    ///
    /// It is also in the extensions of a response, but an error has none.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// use std::pin::pin;
    /// use http::{Request, Response};
    /// use tower::{Layer, Service, service_fn};
    /// use tower_backpressure::RetryLayer;
    ///
    /// # async fn example() {
    /// let broken = service_fn(|_: Request<()>| async { Err::<Response<String>, _>("reset") });
    /// let mut client = RetryLayer::new().layer(broken);
    /// let mut call = pin!(client.call(Request::new(())));
    /// if call.as_mut().await.is_err() {
    ///     let why = call.gave_up().expect("a failed GET is retried");
    ///     println!("{} after {} attempts", why.reason, why.attempts);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn gave_up(&self) -> Option<GaveUp> {
        self.progress.gave_up()
    }
}

impl<S, Req, R> Future for ResponseFuture<S, Req, R>
where
    S: Service<Req, Error: 'static>,
    S::Response: ResponseHead,
    R: KeepForRetry<Req>,
{
    type Output = Result<<S::Response as ResponseHead>::Output, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A request that is late before it is sent is not sent.
        if self.progress.attempts == 0 && self.as_mut().poll_cut(cx).is_ready() {
            return Poll::Ready(Ok(self.finish_at_deadline()));
        }
        if let Poll::Ready(outcome) = self.as_mut().poll_steps(cx) {
            return Poll::Ready(outcome);
        }
        ready!(self.as_mut().poll_cut(cx));
        Poll::Ready(Ok(self.finish_at_deadline()))
    }
}

impl<S, Req, R> ResponseFuture<S, Req, R>
where
    S: Service<Req, Error: 'static>,
    S::Response: ResponseHead,
    R: KeepForRetry<Req>,
{
    /// Ready at the deadline, if there is one that ends attempts. No wait ends after it.
    fn poll_cut(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        match (this.timer.as_pin_mut(), this.step.project()) {
            (Some(timer), StepProjection::Ready) => timer.timer().poll(cx),
            (Some(timer), StepProjection::Attempt { .. }) => timer.poll_expired(cx),
            _ => Poll::Pending,
        }
    }

    fn poll_steps(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<<S::Response as ResponseHead>::Output, S::Error>> {
        loop {
            let identity = self.progress.identity;
            match self.as_mut().project().step.project() {
                // Ready -> Attempt, once the service inside is ready.
                StepProjection::Ready => {
                    ready!(self.as_mut().project().inner.poll_ready(cx))?;
                    // The process may have been suspended during the wait.
                    if self.progress.is_late() {
                        if S::Response::IS_CUT_BY_LAYER {
                            return Poll::Ready(Ok(self.finish_at_deadline()));
                        }
                        // The client inside ends the attempt at once, with its own error.
                        let progress = self.as_mut().project().progress;
                        progress.cut_at = progress.deadline;
                    }
                    self.as_mut().send_attempt();
                }
                // Attempt -> Wait, or the end.
                StepProjection::Attempt { future } => {
                    let in_progress = AttemptInProgress::enter(identity);
                    let mut outcome = ready!(future.poll(cx));
                    drop(in_progress);
                    match self.as_mut().finish_attempt(&mut outcome) {
                        Some(grant) => self.as_mut().start_wait(grant, outcome),
                        None => return Poll::Ready(outcome.map(ResponseHead::into_output)),
                    }
                }
                // Wait -> Ready, never early.
                StepProjection::Wait { .. } => ready!(self.as_mut().poll_wait(cx)),
                StepProjection::Finished => {
                    panic!("a response future is not polled after completion")
                }
            }
        }
    }

    /// Reads what is left of the failed response, and waits.
    fn poll_wait(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let StepProjection::Wait { at, mut drain } = this.step.as_mut().project() else {
            return Poll::Ready(());
        };
        if drain.as_mut().as_pin_mut().is_some_and(|drain| drain.poll(cx).is_ready()) {
            drain.set(None);
        }
        let mut timer = this.timer.as_mut().as_pin_mut().expect("a wait has a timer").timer();
        ready!(timer.as_mut().poll(cx));
        drain.set(None);
        if timer.deadline() < *at {
            timer.as_mut().reset(*at);
            return timer.poll(cx);
        }
        this.timer.set(this.progress.cut_by_layer::<S::Response>().map(Expiry::at));
        this.step.set(Step::Ready);
        Poll::Ready(())
    }

    fn send_attempt(self: Pin<&mut Self>) {
        let mut this = self.project();
        let (policy, progress) = (&**this.policy, this.progress);
        progress.attempts += 1;
        if let Some(kept) = this.request.as_mut() {
            progress.prepare(&policy.request, kept);
            progress.identity = kept.identity();
        }
        let again = progress.attempts < policy.max_attempts && !progress.stands_back;
        let request = this.replay.send(this.request, again);
        let request = request.expect("a retry is granted only if there is a request to send");
        progress.spent = this.payment.take().and_then(Payment::spend).or(progress.spent);
        match progress.attempts {
            _ if progress.stands_back => {}
            1 => {
                let budget = policy.budget_of(progress);
                budget.deposit();
                policy.telemetry.first_attempt();
                policy.telemetry.budget(budget);
            }
            _ => policy.telemetry.retried(),
        }
        let in_progress = AttemptInProgress::enter(progress.identity);
        let future = this.inner.call(request);
        drop(in_progress);
        this.step.set(Step::Attempt { future });
    }

    /// What allows the next attempt; `None` where this one was the last. Its outcome then gets what the
    /// caller may want to know of the attempts. A first attempt's success gets nothing, as an extension costs
    /// three allocations.
    fn finish_attempt(
        self: Pin<&mut Self>,
        outcome: &mut Result<S::Response, S::Error>,
    ) -> Option<Grant> {
        let mut this = self.project();
        let (policy, progress) = (&**this.policy, this.progress);
        progress.replayable =
            this.request.as_ref().is_some_and(|request| this.replay.can_send(request));
        if !progress.stands_back {
            if let Some(grant) = policy.grant_retry(progress, this.request.as_ref(), outcome) {
                return Some(grant);
            }
        }
        *this.request = None;
        this.step.set(Step::Finished);
        if let Ok(response) = outcome {
            if progress.attempts > 1 {
                response.extensions_mut().insert(Attempts(progress.attempts));
            }
            if let Some(gave_up) = progress.gave_up() {
                response.extensions_mut().insert(gave_up);
            }
        }
        None
    }

    /// Drops the attempt, which may hold a permit that another request can use meanwhile.
    fn start_wait(self: Pin<&mut Self>, grant: Grant, outcome: Result<S::Response, S::Error>) {
        let mut this = self.project();
        let Grant { at, wait, payment, ticket } = grant;
        this.progress.waited += wait.span;
        *this.payment = Some(payment);
        if let (Some(request), Some(ticket)) = (this.request.as_mut(), ticket) {
            request.headers_mut().insert(RETURN_TICKET, ticket);
            this.progress.has_returned = true;
        }
        let drain = outcome.ok().and_then(|response| Drain::of(response.into_body()));
        let drained_at = drain.as_ref().and_then(|_| Instant::now().checked_add(MAX_DRAIN_TIME));
        this.timer.set(Some(Expiry::at(drained_at.map_or(at, |drained_at| drained_at.min(at)))));
        this.step.set(Step::Wait { at, drain });
    }

    fn finish_at_deadline(self: Pin<&mut Self>) -> <S::Response as ResponseHead>::Output {
        let mut this = self.project();
        this.policy.give_up(this.progress, GiveUpReason::Deadline);
        *this.request = None;
        *this.payment = None;
        this.step.set(Step::Finished);
        this.timer.set(None);
        let gave_up = this.progress.gave_up().expect("it was set above");
        let response = S::Response::deadline_exceeded(this.progress.is_grpc, gave_up);
        response.expect("the timer is set only for clients whose attempts the layer ends")
    }
}

impl<S, Req, R> fmt::Debug for ResponseFuture<S, Req, R>
where
    S: Service<Req>,
    S::Response: ResponseHead,
    R: KeepForRetry<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("progress", &self.progress).finish_non_exhaustive()
    }
}
