//! What a policy does with a request: admit, queue, reject, or let run although it would be rejected.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{Call, Start, State};
use crate::admission::delayed_rejection::Delay;
use crate::admission::dry_run::DryRun;
use crate::admission::guard::Guard;
use crate::admission::rejection::{Caller, Rendered};
use crate::admission::response_policy::ResponsePolicy;
use crate::admission::streams::StreamCheck;
use crate::admission::{Policy, Recheck};
use crate::inner::Inner;
use crate::limiter::{Acquire, Acquired, Permit};
use crate::request_info::RequestInfo;

impl Policy {
    /// Admits a request if that needs no decision, and prepares the service inside. A request whose deadline has
    /// passed is never admitted; the clock is read only where there is a deadline.
    #[inline(always)]
    pub(super) fn start<S, B>(
        &self,
        inner: &mut impl Inner<S, Request<B>>,
        request: &Request<B>,
    ) -> Start<S::Error>
    where
        S: Service<Request<B>>,
    {
        let needs_none = RequestInfo::needs_no_decision(request.extensions());
        // Where no permit is free the decision looks for a ticket.
        let may_run = needs_none && self.limiter.has_open_permit() && !self.switches.are_in_use();
        if !may_run || self.has_ticket(request.headers()) {
            return Start::Undecided;
        }
        let Some(permit) = self.limiter.try_acquire_undecided() else { return Start::Undecided };
        let starts_now = permit.starts_now();
        let guard = self.admit(permit, Duration::ZERO);
        if !starts_now {
            return Start::NotReady(guard);
        }
        match inner.poll_now() {
            Poll::Ready(Ok(())) => Start::Now(guard, self.response.of(request)),
            Poll::Ready(Err(error)) => Start::Failed(error),
            Poll::Pending => Start::NotReady(guard),
        }
    }

    /// Whether a request may come back when it was told to: such a request is counted, even where permits are free.
    #[inline]
    fn has_ticket(&self, headers: &HeaderMap) -> bool {
        self.tickets.as_ref().is_some_and(|tickets| tickets.may_be_in(headers))
    }

    /// An exempt request runs at once and takes no permit.
    pub(super) fn run_exempt<S, B, F, E>(
        self: &Arc<Self>,
        inner: &mut impl Inner<S, Request<B>>,
        request: Request<B>,
    ) -> State<Call<S, B>, B, F, E>
    where
        S: Service<Request<B>>,
    {
        let guard = Guard::uncounted(self.switches.uncounted(), self.telemetry.exempt());
        self.starting(guard, Call { inner: inner.take_polled(), request })
    }

    /// Lets the limiter decide on a request. `R`: the type of the response's body.
    #[cold]
    pub(super) fn decide<R, S, B, F, E>(
        self: &Arc<Self>,
        inner: &mut impl Inner<S, Request<B>>,
        mut request: Request<B>,
    ) -> State<Call<S, B>, B, F, E>
    where
        R: Body + Send + 'static,
        S: Service<Request<B>>,
        B: 'static,
    {
        let now = Instant::now();
        let info = self.info::<_, R>(&request, now);
        let guard = match self.limiter.start_acquire(info, now) {
            Acquired::Permit(permit) => self.admit(permit, Duration::ZERO),
            Acquired::Queued(acquire) if self.is_dry_run_of_queue() => {
                self.run_while_queued(acquire)
            }
            Acquired::Rejected(shed) if self.is_dry_run_of(shed) => self.run_rejected(shed, now),
            Acquired::Queued(acquire) => {
                let (acquire, queued) = (Box::pin(acquire), self.telemetry.queued(now));
                let call = Some(Call { inner: inner.take_polled(), request });
                return State::Queued { acquire, queued, policy: Arc::clone(self), call };
            }
            Acquired::Rejected(shed) => {
                let Some(guard) = self.pass_on(shed, &mut request, now, Duration::ZERO) else {
                    return self.reject(shed, request, None, now);
                };
                guard
            }
        };
        self.starting(guard, Call { inner: inner.take_polled(), request })
    }

    /// A request has waited: it runs, or is rejected.
    pub(super) fn leave_queue<S, B, F, E>(
        self: &Arc<Self>,
        acquired: Result<Permit, Shed>,
        waited: Duration,
        mut call: Call<S, B>,
    ) -> State<Call<S, B>, B, F, E> {
        let guard = match acquired {
            Ok(permit) => self.admit(permit, waited),
            Err(shed) => {
                let now = Instant::now();
                let Some(guard) = self.pass_on(shed, &mut call.request, now, waited) else {
                    return self.reject(shed, call.request, Some(waited), now);
                };
                guard
            }
        };
        self.starting(guard, call)
    }

    fn starting<S, B, F, E>(
        self: &Arc<Self>,
        mut guard: Guard,
        mut call: Call<S, B>,
    ) -> State<Call<S, B>, B, F, E> {
        let response = self.response_to(&mut call.request, &mut guard);
        State::Starting { guard: Some(guard), call: Some(call), response }
    }

    /// The permit of a request that has waited, unless the request must not be sent any more.
    pub(super) fn recheck(&self, mut permit: Permit) -> Result<Permit, Shed> {
        match self.recheck.as_ref().and_then(|Recheck(check)| check()) {
            None => Ok(permit),
            Some(shed) => {
                permit.skip_measurement();
                Err(shed)
            }
        }
    }

    #[inline(always)]
    pub(super) fn admit(&self, permit: Permit, waited: Duration) -> Guard {
        Guard::new(permit, self.telemetry.admitted(&self.limiter, waited))
    }

    /// In a dry run, a request that would wait runs, and its ticket waits.
    fn run_while_queued(&self, acquire: Acquire) -> Guard {
        let (limiter, telemetry) = (self.limiter.clone(), self.telemetry.clone());
        let dry_run = DryRun::new(acquire, limiter, telemetry, self.switches.clone());
        Guard::dry_run(dry_run, self.telemetry.in_flight())
    }

    /// Whether a request that would be rejected runs: what an operator stops is stopped.
    fn is_dry_run_of(&self, shed: Shed) -> bool {
        self.switches.is_dry_run() && shed.reason != Reason::Stopped
    }

    /// Whether a request that would wait runs: what an operator pauses is paused.
    fn is_dry_run_of_queue(&self) -> bool {
        self.switches.is_dry_run() && !self.limiter.is_paused()
    }

    /// A request that is rejected runs, marked, so that the service inside can tell; `None`: it does not.
    fn pass_on<B>(
        &self,
        shed: Shed,
        request: &mut Request<B>,
        now: Instant,
        waited: Duration,
    ) -> Option<Guard> {
        let uncounted = self.switches.pass_on()?;
        self.telemetry.rejected(shed, &self.limiter, now, waited);
        request.extensions_mut().insert(shed);
        Some(Guard::uncounted(uncounted, self.telemetry.in_flight()))
    }

    /// The policy for the response to a request that runs.
    #[inline]
    pub(super) fn response_to<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        guard: &mut Guard,
    ) -> ResponsePolicy {
        let mut response = self.response.of(request);
        if self.switches.has_extras() {
            response.stream = self.describe(request, guard);
        }
        response
    }

    /// Tells the handler what it may want to know of the layer; returns what decides on a stream.
    #[cold]
    fn describe<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        guard: &mut Guard,
    ) -> Option<Box<StreamCheck>> {
        if self.switches.exposes_pressure {
            request.extensions_mut().insert(self.limiter.pressure());
        }
        if self.switches.exposes_permit {
            request.extensions_mut().insert(guard.share(&self.switches));
        }
        StreamCheck::of(self, request)
    }

    /// In a dry run, a request that would be rejected runs.
    fn run_rejected(&self, shed: Shed, now: Instant) -> Guard {
        self.telemetry.would_reject(shed, &self.limiter, now);
        Guard::uncounted(self.switches.uncounted(), self.telemetry.in_flight())
    }

    /// Rejects a request, at once or after a delay. `waited`: in the queue.
    pub(super) fn reject<B, C, F, E>(
        self: &Arc<Self>,
        shed: Shed,
        request: Request<B>,
        waited: Option<Duration>,
        now: Instant,
    ) -> State<C, B, F, E> {
        self.telemetry.rejected(shed, &self.limiter, now, waited.unwrap_or_default());
        let (caller, deadline) =
            (Caller::of(&request), RequestInfo::deadline_of(request.extensions()));
        let is_flooded = || self.limiter.is_flooded();
        let (shed, delay) = match waited.is_some() && self.delayed.is_for_fractions() {
            true => (self.delayed.round(shed, caller), None),
            false => self.delayed.delay(shed, caller, deadline, is_flooded, now),
        };
        let due = delay.as_ref().map_or(now, Delay::until) + shed.retry_after;
        let (rendered, body) = if self.rejection.is_rendered() {
            let (head, body) = request.into_parts();
            (self.rejection.render(shed, caller, &head), body)
        } else {
            (None, request.into_body())
        };
        let (policy, body) = (Arc::clone(self), Some(body));
        State::Rejected { shed, due, caller, policy, delay, body, rendered }
    }

    /// Has the body of a rejected request read in the background, where that is possible and helps.
    pub(super) fn drain<B: 'static, R: Body + Send + 'static>(
        &self,
        caller: Caller,
        body: B,
    ) -> Caller {
        let Some(drains) = &self.drains else { return caller.without_connection() };
        let is_drained = caller.should_be_drained() && drains.drain::<B, R>(body);
        if is_drained { caller.being_drained() } else { caller }
    }

    /// `due`: when the caller is told to come back.
    pub(super) fn respond(
        &self,
        shed: Shed,
        due: Instant,
        caller: Caller,
        rendered: Option<Rendered>,
    ) -> Response<Bytes> {
        let ticket = self.tickets.as_ref().map(|tickets| tickets.issue(due));
        self.rejection.respond(shed, caller, ticket, rendered)
    }
}
