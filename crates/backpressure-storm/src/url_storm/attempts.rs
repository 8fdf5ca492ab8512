//! The attempts of a step, and the two kinds of clients that make them.

use crate::answer::AnswerKind;
use crate::client::NAIVE_ATTEMPTS;
use crate::event_log::{EventKind, Log};
use crate::generator::Ask;
use crate::url_storm::call::Call;
use crate::url_storm::connections::{Answer, Connections};
use crate::url_storm::outcome::Outcome;
use crate::url_storm::tally::Tally;
use crate::url_storm::target::Target;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_backpressure::client::{BackpressureClient, ClientStack};
use tower_backpressure::{Retry, RetryAfter, RetryBudget, RetryLayer};

/// Time of a whole call over the deadline of an attempt, for obedient clients: long enough to come back when told.
pub(crate) const PATIENCE: u32 = 10;
/// Obedient clients share what they have learned within a process; a service has more than one such process.
const CLIENT_PROCESSES: usize = 16;

/// Patient clients come back up to three times.
const PATIENT_ATTEMPTS: u32 = 4;
/// More than a step sends.
const UNLIMITED_RETRIES: u32 = 1_000_000;
/// Patient clients do not wait longer: no step lasts that long.
const WATCHED: Duration = Duration::from_secs(60);

/// What a client does when an attempt fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClientKind {
    /// Tries again at once, up to four attempts in all.
    Naive,
    /// Our client stack: waits as told, within a budget.
    Obedient,
    /// Our retry layer without a budget: comes back when told, each time, to see whether that was true.
    Patient,
}

impl ClientKind {
    /// The kinds that are sent against every load.
    pub(crate) const ALL: [Self; 2] = [Self::Obedient, Self::Naive];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Obedient => "obedient",
            Self::Patient => "patient",
        }
    }
}

/// A service that makes one attempt per call, with a time limit, and writes down its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    pub(crate) connections: Connections,
    pub(crate) target: Arc<Target>,
    pub(crate) deadline: Duration,
    pub(crate) log: Arc<Log>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) number: Arc<AtomicU64>,
}

impl Attempts {
    /// A request with a number of its own.
    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = self.target.request(self.number.fetch_add(1, Ordering::Relaxed));
        request.extensions_mut().insert(Call::default());
        request
    }

    /// Makes the attempt, and writes down what became of it.
    pub(crate) async fn attempt(self, request: Request<Full<Bytes>>) -> Outcome {
        let call = request.extensions().get::<Call>().cloned().unwrap_or_default();
        let sent = Instant::now();
        let mut record = Record { attempts: &self, call: &call, sent, sealed: false };
        self.log.note(EventKind::Sent);
        let outcome = match timeout(self.deadline, self.connections.send(request, &call)).await {
            Ok(Ok(answer)) => of_answer(answer),
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(_) => Outcome::Late,
        };
        record.seal(&outcome);
        outcome
    }
}

/// Writes an attempt down. Dropped without an outcome, the client has given up: the attempt was late.
struct Record<'a> {
    attempts: &'a Attempts,
    call: &'a Call,
    sent: Instant,
    sealed: bool,
}

impl Record<'_> {
    fn seal(&mut self, outcome: &Outcome) {
        self.sealed = true;
        let Attempts { log, tally, .. } = self.attempts;
        let event = match outcome {
            Outcome::Good(_) => AnswerKind::Good.event(),
            Outcome::Refused(..) => AnswerKind::Refused.event(),
            Outcome::Useless(_) => AnswerKind::Useless.event(),
            Outcome::Late => Some(EventKind::Late),
            Outcome::Failed(_) => Some(EventKind::Broken),
        };
        event.into_iter().for_each(|event| log.note(event));
        tally.note(log.start, self.sent, self.call, outcome);
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.sealed {
            self.seal(&Outcome::Late);
        }
    }
}

fn of_answer(answer: Answer) -> Outcome {
    match AnswerKind::of(answer.status, &answer.headers) {
        AnswerKind::Good if answer.has_expected => Outcome::Good(answer),
        AnswerKind::Good => Outcome::Useless(answer),
        AnswerKind::Useless => Outcome::Useless(answer),
        AnswerKind::Refused => {
            let told = RetryAfter::from_headers(&answer.headers, SystemTime::now());
            let told = told.filter(|told| !told.forbids_retry()).map(|told| told.delay());
            Outcome::Refused(answer, told)
        }
    }
}

impl Service<Request<Full<Bytes>>> for Attempts {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let attempts = self.clone();
        Box::pin(async move {
            match attempts.attempt(request).await {
                Outcome::Good(answer) | Outcome::Refused(answer, _) | Outcome::Useless(answer) => {
                    let mut response = Response::new(Full::default());
                    (*response.status_mut(), *response.headers_mut()) =
                        (answer.status, answer.headers);
                    Ok(response)
                }
                Outcome::Late => Err("no answer in time".into()),
                Outcome::Failed(failure) => Err(failure.into()),
            }
        })
    }
}

/// The clients of a step.
#[derive(Debug, Clone)]
pub(crate) enum Clients {
    /// Each request once: for the search of the capacity.
    Once(Attempts),
    Naive(Attempts),
    Obedient(Attempts, Arc<[BackpressureClient<Attempts>]>),
    Patient(Attempts, Arc<Retry<Attempts>>),
}

impl Clients {
    pub(crate) fn of(kind: ClientKind, attempts: &Attempts) -> Self {
        match kind {
            ClientKind::Naive => Self::Naive(attempts.clone()),
            ClientKind::Obedient => {
                let stack = || {
                    ClientStack::new("storm")
                        .deadline(attempts.deadline * PATIENCE)
                        .attempt_timeout(attempts.deadline)
                        .layer(attempts.clone())
                };
                Self::Obedient(attempts.clone(), (0..CLIENT_PROCESSES).map(|_| stack()).collect())
            }
            ClientKind::Patient => {
                let retry = RetryLayer::named("storm")
                    .budget(RetryBudget::new(1.0).reserve(UNLIMITED_RETRIES))
                    .max_attempts(PATIENT_ATTEMPTS)
                    .max_retry_after(WATCHED)
                    .deadline(WATCHED);
                Self::Patient(attempts.clone(), Arc::new(retry.layer(attempts.clone())))
            }
        }
    }
}

impl Ask for Clients {
    async fn ask(self) -> bool {
        match self {
            Self::Once(attempts) => {
                let request = attempts.request();
                matches!(attempts.attempt(request).await, Outcome::Good(_))
            }
            Self::Naive(attempts) => {
                let request = attempts.request();
                for _ in 0..NAIVE_ATTEMPTS {
                    if let Outcome::Good(_) = attempts.clone().attempt(request.clone()).await {
                        return true;
                    }
                }
                false
            }
            Self::Obedient(attempts, stacks) => {
                let request = attempts.request();
                let turn = attempts.number.load(Ordering::Relaxed) as usize % stacks.len();
                let answer = stacks[turn].clone().oneshot(request).await;
                answer.is_ok_and(|response| response.status().is_success())
            }
            Self::Patient(attempts, retry) => {
                let answer = Retry::clone(&retry).oneshot(attempts.request()).await;
                answer.is_ok_and(|response| response.status().is_success())
            }
        }
    }
}
