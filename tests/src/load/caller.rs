//! The callers of one class.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tower::ServiceExt;
use tower_backpressure::Rejected;

use super::Client;
use super::class::{Arrivals, Class, Reader};
use super::distribution::exponential;
use super::handler::Job;
use super::report::{Recorder, RequestOutcome};

/// The origin of all requests, for layers with a limit per origin.
pub(crate) const ORIGIN: &str = "http://service/";
/// How long a caller in a closed loop waits after a rejection before its next request.
const PAUSE_AFTER_REJECTION: Duration = Duration::from_secs(1);

/// Resolution of tokio's timers.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

/// The callers of one class.
#[derive(Clone)]
pub(crate) struct Caller<S> {
    pub(crate) service: S,
    pub(crate) classes: Arc<[Class]>,
    pub(crate) index: usize,
    pub(crate) recorder: Recorder,
}

impl<S: Client> Caller<S> {
    /// Sends all requests of the class.
    pub(crate) async fn send_all(self, mut rng: Rng, length: Duration) {
        let class = &self.classes[self.index];
        let (start, until) = (Instant::now(), class.until.min(length));
        let mut arrived = 0;
        let mut gap = |rng: &mut Rng| match class.arrivals {
            Arrivals::Poisson(rate) => Duration::from_secs_f64(exponential(rng) / rate),
            Arrivals::Every(period) => period,
            Arrivals::Spread(count, over) => {
                over / u32::try_from(count).expect("fewer than u32::MAX requests")
            }
            Arrivals::Closed(_) => Duration::ZERO,
            Arrivals::Bursts(count, period) => {
                arrived += 1;
                if arrived % count == 1 % count { period } else { Duration::ZERO }
            }
        };
        let max_requests = match class.arrivals {
            Arrivals::Spread(count, _) | Arrivals::Closed(count) => count,
            _ => usize::MAX,
        };
        let mut at = class.from;
        for _ in 0..max_requests {
            at += gap(&mut rng);
            if at >= until {
                return;
            }
            // Tokio's timers have whole milliseconds: a later time within the same one does not wait.
            if at >= start.elapsed() + TIMER_RESOLUTION {
                sleep_until(start + whole_millis(at)).await;
            }
            let (caller, rng) = (self.clone(), rng.fork());
            if matches!(class.arrivals, Arrivals::Closed(_)) {
                tokio::spawn(caller.send_repeatedly(rng, start + until));
            } else {
                let due = start + whole_millis(at);
                tokio::spawn(async move { caller.send(rng, due).await });
            }
        }
    }

    async fn send_repeatedly(self, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            let outcome = self.send(rng.fork(), Instant::now()).await;
            // A failure may be the rejection of a layer that is not ours.
            if matches!(outcome, Some(RequestOutcome::Rejected | RequestOutcome::Failed)) {
                sleep(PAUSE_AFTER_REJECTION).await;
            }
        }
    }

    /// Sends one request and reads the response; `None`: the outcome was recorded at the head.
    async fn send(&self, mut rng: Rng, sent: Instant) -> Option<RequestOutcome> {
        let class = &self.classes[self.index];
        self.recorder.offered(self.index);
        let mut attempt = async || {
            let fails = class.failing.is_some_and(|(share, _)| rng.f64() < share);
            let job = Job { class: self.index, fails, seed: rng.u64(..) };
            self.exchange(job, sent).await
        };
        let mut outcome = attempt().await;
        for _ in 0..class.retries {
            let is_retried =
                matches!(outcome, Some(RequestOutcome::Rejected | RequestOutcome::Failed));
            outcome = if is_retried { attempt().await } else { break };
        }
        if let Some(outcome) = outcome {
            self.recorder.ended(self.index, outcome);
        }
        outcome
    }

    async fn exchange(&self, job: Job, sent: Instant) -> Option<RequestOutcome> {
        let class = &self.classes[self.index];
        let cancelled_at = class.cancels_after.map(|patience| sent + patience);
        let on_time = |outcome| {
            if sent.elapsed() > class.late_after { RequestOutcome::Late } else { outcome }
        };
        let mut request = Request::get(ORIGIN).body(job).expect("a request");
        request.extensions_mut().insert(class.priority);
        let response = match before(cancelled_at, self.service.clone().oneshot(request)).await {
            None => return Some(RequestOutcome::Cancelled),
            Some(Err(_)) => return Some(RequestOutcome::Failed),
            Some(Ok(response)) => response,
        };
        if Rejected::of(&response).is_some() {
            return Some(RequestOutcome::Rejected);
        }
        if is_failure(&response) {
            return Some(RequestOutcome::Failed);
        }
        if class.is_served_at_head() {
            self.recorder.ended(self.index, on_time(RequestOutcome::Served));
        }
        let outcome = match before(cancelled_at, read(response.into_body(), class.reader)).await {
            None => RequestOutcome::Cancelled,
            Some(false) => RequestOutcome::Failed,
            Some(true) => on_time(RequestOutcome::Served),
        };
        (!class.is_served_at_head()).then_some(outcome)
    }
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(
        u64::try_from(time.as_millis()).expect("fewer than u64::MAX milliseconds"),
    )
}

/// Drops the work at `end`; `None`: it was not finished.
async fn before<W: Future>(end: Option<Instant>, work: W) -> Option<W::Output> {
    match end {
        Some(end) => timeout_at(end, work).await.ok(),
        None => Some(work.await),
    }
}

fn is_failure<B>(response: &Response<B>) -> bool {
    !is_ok(response.headers()) || !response.status().is_success()
}

/// Whether these headers or trailers do not carry the status of a failed gRPC call.
fn is_ok(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_none_or(|status| status == "0")
}

/// Reads a body; false: it ended with an error.
async fn read(body: impl Body<Data = Bytes>, reader: Reader) -> bool {
    let mut body = pin!(body);
    let mut first = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        if frame.trailers_ref().is_some_and(|trailers| !is_ok(trailers)) {
            return false;
        }
        match reader {
            Reader::Pauses(pause) if std::mem::take(&mut first) => sleep(pause).await,
            Reader::Pauses(_) => {}
            Reader::Eager => {}
            Reader::Stalls => std::future::pending().await,
            Reader::Slow(pause) => sleep(pause).await,
        }
    }
    true
}
