//! One attempt: whether it may be sent, how long it is held, and how it ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_core::{Outcome, Pass, Priority, Shed, Timestamp};
use bytes::Bytes;
use http::{Extensions, Request, Response};
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until};

use super::held::Held;
use super::shared::{Ended, How, Origin, Shared, Supervision, Verdict};
use super::telemetry;
use crate::admission::classify::is_of_another_origin;
use crate::admission::rejection::Caller;
use crate::client::cooldown_marks::{ResumesAt, ToldAgain};
use crate::request_info::RequestInfo;

/// An attempt. Dropped while it is in flight, it was cancelled.
pub(super) struct Attempt<T: Supervision> {
    shared: Arc<Shared<T>>,
    origin: Arc<Origin<T>>,
    priority: Priority,
    deadline: Option<Instant>,
    /// `None`: it is not sent yet, or has ended.
    sent: Option<Sent>,
    /// While it is held.
    hold: Option<Box<Holding>>,
}

/// An attempt in flight.
#[derive(Clone, Copy)]
struct Sent {
    pass: Pass,
    number: usize,
    /// `None`: it does not matter how long it takes.
    at: Option<Instant>,
}

/// An attempt that is held.
struct Holding {
    /// When it is rejected.
    until: Instant,
    wake: Pin<Box<Sleep>>,
    /// Another attempt has ended.
    notified: Pin<Box<OwnedNotified>>,
    held: Arc<Held>,
    _counted: telemetry::Held,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.leave();
    }
}

impl<T: Supervision> Attempt<T> {
    pub(super) fn new(
        shared: &Arc<Shared<T>>,
        origin: Arc<Origin<T>>,
        extensions: &Extensions,
    ) -> Self {
        let RequestInfo { priority, deadline, .. } = RequestInfo::of(extensions);
        Self { shared: Arc::clone(shared), origin, priority, deadline, sent: None, hold: None }
    }

    /// Ready when the attempt may be sent, or must not be.
    ///
    /// # Errors
    /// [`Shed`] when it is rejected.
    pub(super) fn poll_decision(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Shed>> {
        loop {
            match self.decide() {
                Ok(None) => return Poll::Ready(Ok(())),
                Err(shed) => return Poll::Ready(Err(shed)),
                Ok(Some(at)) => ready!(self.poll_wait(at, cx)),
            }
        }
    }

    /// Sends it where attempts are sent without a decision, and returns whether they are.
    pub(super) fn send_if_open(&mut self) -> bool {
        let is_open = self.origin.state.is_open();
        if is_open {
            self.send(Pass::UNTRACKED);
        }
        is_open
    }

    /// Asks now: the moment to ask again, if it has to wait.
    pub(super) fn decide(&mut self) -> Result<Option<Timestamp>, Shed> {
        if self.send_if_open() {
            return Ok(None);
        }
        let Self { shared, origin, .. } = self;
        let now = Instant::now();
        let moment = shared.timestamp(now);
        let (verdict, transition) = origin.state.decide(&shared.options, self.priority, moment);
        shared.report(origin, transition);
        let shed = match verdict {
            Verdict::Send(pass) => {
                self.send(pass);
                return Ok(None);
            }
            Verdict::Wait { until, ask_at, is_fixed } => {
                let earliest = if is_fixed { self.shared.instant(until) } else { now };
                if !self.shared.common.dry_run && self.may_wait(earliest, now) {
                    return Ok(Some(ask_at));
                }
                Shed::new(T::REASON, until.since(moment))
            }
            Verdict::Reject(after) => Shed::new(T::REASON, after),
        };
        self.hold = None;
        if self.shared.common.dry_run {
            self.shared.common.telemetry.would_reject();
            self.send(Pass::UNTRACKED);
            return Ok(None);
        }
        self.shared.common.telemetry.rejected(shed.retry_after);
        Err(shed)
    }

    /// The attempt ended with this response or error.
    pub(super) fn ended<B, E>(&mut self, result: &mut Result<Response<B>, E>) {
        let Some(sent) = self.sent.take() else { return };
        let outcome = self.shared.common.classifier.outcome(result);
        let how = match result {
            Ok(response) if is_of_another_origin(response) => How::Redirected,
            Ok(response) => {
                How::Response { outcome, status: response.status(), headers: response.headers() }
            }
            Err(_) => How::Error,
        };
        self.learn(sent, how);
        let Self { shared, origin, .. } = self;
        if let (Outcome::Overload, Ok(response)) = (outcome, result) {
            if let Some(at) = origin.state.resumes_at().filter(|_| !shared.common.dry_run) {
                response.extensions_mut().insert(ResumesAt(shared.instant(at)));
            }
        }
    }

    fn learn(&self, Sent { pass, number, at }: Sent, how: How<'_>) {
        let Self { shared, origin, priority, .. } = self;
        let latency = at.map(|at| at.elapsed()).unwrap_or_default();
        let ended = Ended { pass, number, priority: *priority, latency, how };
        let transition = origin.state.ended(&shared.options, &ended, || shared.now());
        shared.report(origin, transition);
    }

    fn send(&mut self, pass: Pass) {
        self.hold = None;
        let at = T::is_timed(&self.shared.options).then(Instant::now);
        let number = self.origin.state.sent();
        self.sent = Some(Sent { pass, number, at });
        self.shared.common.telemetry.sent();
    }

    /// Whether an attempt that may be sent at `earliest` is held until then, within the bounds of the layer
    /// and its own deadline.
    fn may_wait(&mut self, earliest: Instant, now: Instant) -> bool {
        let Some(held) = self.origin.state.held() else { return false };
        let hold = self.shared.common.hold;
        let until = match &self.hold {
            Some(holding) => holding.until,
            None => (now + hold.max_wait).min(self.deadline.unwrap_or(now + hold.max_wait)),
        };
        if now >= until || earliest > until {
            return false;
        }
        if self.hold.is_none() {
            let Some(counted) = self.shared.common.telemetry.hold(hold.max_held) else {
                return false;
            };
            held.enter();
            let (held, notified) = (Arc::clone(held), Box::pin(held.notified()));
            let wake = Box::pin(sleep_until(until));
            let holding = Holding { until, wake, notified, held, _counted: counted };
            self.hold = Some(Box::new(holding));
        }
        true
    }

    /// Ready when it is time to ask again.
    fn poll_wait(&mut self, at: Timestamp, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.shared.instant(at);
        let Some(holding) = &mut self.hold else { return Poll::Ready(()) };
        holding.wake.as_mut().reset(at.min(holding.until));
        if holding.notified.as_mut().poll(cx).is_ready() {
            holding.notified = Box::pin(holding.held.notified());
            return Poll::Ready(());
        }
        holding.wake.as_mut().poll(cx)
    }

    /// It was decided on, and is sent only now.
    pub(super) fn starts(&mut self) {
        if let Some(Sent { at: Some(at), .. }) = &mut self.sent {
            *at = Instant::now();
        }
    }

    /// The response in its place, as it is not sent.
    pub(super) fn respond<B>(&self, shed: Shed, request: &Request<B>) -> Response<Bytes> {
        let Self { shared, origin, .. } = self;
        let caller = Caller::of(request).without_connection();
        let mut response = shared.common.rejection.respond(shed, caller, None, None);
        if origin.state.has_told_again() {
            response.extensions_mut().insert(ToldAgain);
        }
        response
    }
}

impl<T: Supervision> Drop for Attempt<T> {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.learn(sent, How::Cancelled);
        }
    }
}

impl<T: Supervision> fmt::Debug for Attempt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("origin", &self.origin).finish_non_exhaustive()
    }
}
