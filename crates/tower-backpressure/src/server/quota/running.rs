//! A request that the quota lets through: what it has taken, and what its response says.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{QuotaDecision, QuotaRejection, Reason, Shed, TakenTokens};
use http::{Request, Response};
use http_body::Body;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::books::Books;
use super::reservation::{Reservation, Reserved};
use super::rules::{Asks, Rules};
use super::subject::Subject;
use super::table::{Decided, Slot};
use crate::admission::body::ResponseBody;
use crate::admission::classify::Side;
use crate::admission::guard::{Guard, Hold};
use crate::admission::response_policy::{PermitScope, ResponsePolicy, replace_body};
use crate::observe::{Inside, is_watched};
use crate::request_info::RequestInfo;

/// A request that the quota lets through. Dropped before it has begun, it gives its tokens back.
#[derive(Debug)]
pub(super) struct Running {
    rules: Arc<Rules>,
    guard: Option<Guard>,
    response: ResponsePolicy,
    taken: Option<Taken>,
    /// How the key stands, for the fields of the response.
    decided: Option<Box<Decided>>,
}

/// The tokens of a request.
#[derive(Debug)]
struct Taken {
    subject: Subject,
    has_begun: bool,
    /// What it has cost, as far as is known without the handler.
    tokens: u64,
    /// What the handler settles, if it can.
    reserved: Option<Arc<Reserved>>,
}

/// A request that counts among those at once.
#[derive(Debug)]
struct InFlight {
    books: Arc<Books>,
    slot: Slot,
}

/// A request that is not let through.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) shed: Shed,
    /// What it has exceeded, by which plan.
    pub(super) exceeded: Option<(QuotaRejection, Box<Decided>)>,
}

/// When a request that has exceeded only the number at once is told to come back: how long the others take is not
/// known.
const IN_FLIGHT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The decision on a request.
pub(super) enum Start {
    /// It runs, after this time.
    Run(Running, Duration),
    Refuse(Refused),
    /// It waits for the answer of the store, for up to this time.
    Ask(Duration, OwnedNotified),
}

impl Rules {
    /// An exempt request runs, and takes nothing.
    pub(super) fn start_exempt<B>(self: &Arc<Self>, request: &Request<B>) -> Running {
        let guard = Guard::elsewhere(None, self.telemetry.exempt());
        Running::new(self, guard, request)
    }

    /// Decides on a request.
    pub(super) fn start<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        asks: Asks,
        may_wait: bool,
    ) -> Start {
        let mut subject = match asks {
            Asks::For(subject) => subject,
            Asks::Nothing => return Start::Run(self.start_exempt(request), Duration::ZERO),
            Asks::Refused(shed) => return self.refuse(request, shed, None),
        };
        let now = Instant::now();
        let mut decided = self.books.decide(&subject, self.books.timestamp(now));
        if decided.awaits_store && may_wait && !self.switches.is_dry_run() {
            if let Some((max_wait, answer)) = self.books.wait_for_answer(subject.slot) {
                // The answer may have come a moment ago, before anything listened.
                decided = self.books.decide(&subject, self.books.timestamp(now));
                if decided.awaits_store {
                    return Start::Ask(max_wait, answer);
                }
            }
        }
        subject.taken_from = decided.taken_from;
        if is_watched() {
            self.note(&subject, &decided, now);
        }
        if let Some(eviction) = decided.eviction {
            self.quota_telemetry.evicted(eviction);
        }
        let delay = match decided.decision {
            QuotaDecision::Admit => Duration::ZERO,
            QuotaDecision::Delay(delay) => delay,
            QuotaDecision::Reject(rejection) => {
                let shed = Shed::new(Reason::Quota, retry_after(rejection));
                return self.refuse(request, shed, Some((rejection, Box::new(decided))));
            }
        };
        let running = self.let_through(request, subject, decided);
        // Dropped, the request gives its tokens back.
        let deadline = RequestInfo::deadline_of(request.extensions());
        if deadline.is_some_and(|deadline| now.checked_add(delay).is_none_or(|at| at > deadline)) {
            return self.refuse(request, Shed::new(Reason::Deadline, delay), None);
        }
        Start::Run(running, delay)
    }

    /// Counts the request for its tenant, if it is its turn.
    #[cold]
    fn note(&self, subject: &Subject, decided: &Decided, now: Instant) {
        if let Some(weight) = self.telemetry.stats().turn() {
            let is_rejected = matches!(decided.decision, QuotaDecision::Reject(_));
            self.books.busiest.note(&subject.key, weight, is_rejected, now);
        }
    }

    fn let_through<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        subject: Subject,
        decided: Decided,
    ) -> Running {
        let counts = decided.plan.quota.max_in_flight().is_some();
        let hold = || InFlight { books: Arc::clone(&self.books), slot: subject.slot };
        let hold = counts.then(|| Box::new(hold()) as Box<dyn Hold>);
        let guard = Guard::elsewhere(hold, self.telemetry.in_flight());
        let mut running = Running::new(self, guard, request);
        let reserved = || Arc::new(Reserved::new(Arc::clone(&self.books), subject));
        let reserved = self.exposes_reservation.then(reserved);
        if let Some(reserved) = &reserved {
            request.extensions_mut().insert(Reservation::new(Arc::clone(reserved)));
        }
        running.taken = Some(Taken { subject, has_begun: false, tokens: subject.cost, reserved });
        let shows = !self.fields.is_none() && !self.switches.is_dry_run();
        running.decided = shows.then(|| Box::new(decided));
        running
    }

    /// A request beyond its quota: with a soft quota or in a dry run it runs all the same.
    fn refuse<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        shed: Shed,
        exceeded: Option<(QuotaRejection, Box<Decided>)>,
    ) -> Start {
        let now = Instant::now();
        if self.switches.is_dry_run() {
            self.telemetry.would_reject(shed, None, now);
        } else if let Some(priority) = self.soft.filter(|_| shed.reason == Reason::Quota) {
            self.telemetry.would_admit(None, Duration::ZERO);
            self.quota_telemetry.beyond_soft();
            RequestInfo::lower(request.extensions_mut(), priority);
        } else {
            self.telemetry.rejected(shed, None, now, Duration::ZERO);
            return Start::Refuse(Refused { shed, exceeded });
        }
        let guard = Guard::elsewhere(None, self.telemetry.in_flight());
        Start::Run(Running::new(self, guard, request), Duration::ZERO)
    }
}

/// A place among the requests at once may be free before there are tokens, and the other way round.
fn retry_after(rejection: QuotaRejection) -> Duration {
    match rejection.violated.in_flight() {
        true => rejection.retry_after.max(IN_FLIGHT_RETRY_AFTER),
        false => rejection.retry_after,
    }
}

impl Running {
    fn new<B>(rules: &Arc<Rules>, guard: Guard, request: &Request<B>) -> Self {
        let mut response = ResponsePolicy::new(Side::Server);
        response.scope = PermitScope::Body;
        let response = response.of(request);
        Self { rules: Arc::clone(rules), guard: Some(guard), response, taken: None, decided: None }
    }

    /// The service inside is polled until what is returned is dropped.
    #[inline]
    pub(super) fn enter(&self) -> Option<Inside> {
        self.guard.as_ref().and_then(Guard::enter)
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The service inside is called: from now on the request has done work.
    pub(super) fn begins(&mut self, waited: Duration) {
        if let Some(taken) = &mut self.taken {
            taken.has_begun = true;
            self.rules.telemetry.would_admit(None, waited);
        }
    }

    /// The response with its fields, the body holding what counts the request.
    pub(super) fn respond<B: Body>(
        mut self,
        mut response: Response<B>,
    ) -> Response<ResponseBody<B>> {
        let mut guard = self.guard.take();
        if let Some(guard) = &mut guard {
            guard.head_is_ready();
        }
        // A layer inside rejected the request: it did no work, and costs nothing.
        let was_rejected = self.response.mark_begun(&mut response);
        let mut response = self.settle(response, was_rejected);
        let replaced = was_rejected.then(|| replace_body(&mut response)).flatten();
        let keeps_guard = replaced.is_none() && self.response.body_holds_guard(&response, false);
        let guard = guard.filter(|_| keeps_guard);
        let mut response = match replaced {
            Some(replaced) => replaced.map(ResponseBody::rejected),
            None => ResponseBody::admitted(response, guard, Side::Server),
        };
        if let Some(decided) = self.decided.take() {
            let decided = self.standing_if_settled().unwrap_or(decided);
            let (fields, now) = (self.rules.fields, self.rules.books.now());
            let (standing, headers) = (decided.standing(now), response.headers_mut());
            decided.plan.write_left(fields, headers, standing, decided.in_flight);
        }
        response
    }

    /// How the key stands after tokens were given back, or more were taken, since the decision.
    fn standing_if_settled(&self) -> Option<Box<Decided>> {
        let taken = self.taken.as_ref().filter(|taken| taken.is_settled())?;
        self.rules.books.peek(taken.subject.slot).map(Box::new)
    }

    fn settle<B>(&mut self, response: Response<B>, was_rejected: bool) -> Response<B> {
        let Some(taken) = &mut self.taken else { return response };
        if was_rejected {
            taken.cost(&self.rules.books, 0);
            return response;
        }
        let Some(rule) = &self.rules.settle else { return response };
        let (parts, body) = response.into_parts();
        if let Some(tokens) = rule(&parts) {
            taken.cost(&self.rules.books, tokens);
        }
        Response::from_parts(parts, body)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.as_mut().filter(|taken| !taken.has_begun) {
            taken.cost(&self.rules.books, 0);
        }
    }
}

impl Taken {
    /// Whether it has cost something else than it had taken at first.
    fn is_settled(&self) -> bool {
        let tokens = self.reserved.as_ref().map_or(self.tokens, |reserved| reserved.tokens());
        tokens != self.subject.cost
    }

    /// The request has cost this many tokens.
    fn cost(&mut self, books: &Books, tokens: u64) {
        self.tokens = tokens;
        match &self.reserved {
            Some(reserved) => reserved.settle(tokens),
            None => {
                let mut taken = TakenTokens::of(self.subject.cost);
                books.settle(&self.subject, &mut taken, tokens);
            }
        }
    }
}

impl Hold for InFlight {}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.books.leave(self.slot);
    }
}
