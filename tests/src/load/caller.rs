//! The callers of a class.

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
use tower_backpressure::Shed;

use super::Client;
use super::class::{Arrivals, Class, Reader};
use super::handler::Job;
use super::law::exponential;
use super::report::{Fate, Journal};

/// Where all requests go, for layers that tell origins apart.
pub(crate) const ORIGIN: &str = "http://service/";
/// How long a caller waits after a refusal before it asks again.
const PAUSE: Duration = Duration::from_secs(1);

/// The callers of one class.
#[derive(Clone)]
pub(crate) struct Caller<S> {
    pub(crate) service: S,
    pub(crate) classes: Arc<[Class]>,
    pub(crate) index: usize,
    pub(crate) journal: Journal,
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
            Arrivals::Crowd(count, over) => over / u32::try_from(count).expect("a small crowd"),
            Arrivals::Closed(_) => Duration::ZERO,
            Arrivals::Bursts(count, period) => {
                arrived += 1;
                if arrived % count == 1 % count { period } else { Duration::ZERO }
            }
        };
        let most = match class.arrivals {
            Arrivals::Crowd(count, _) | Arrivals::Closed(count) => count,
            _ => usize::MAX,
        };
        let mut at = class.from;
        for _ in 0..most {
            at += gap(&mut rng);
            if at >= until {
                return;
            }
            // Time is in whole milliseconds; a later time of the same millisecond does not wait.
            if at >= start.elapsed() + PAUSE / 1_000 {
                sleep_until(start + whole_millis(at)).await;
            }
            let (caller, rng) = (self.clone(), rng.fork());
            if matches!(class.arrivals, Arrivals::Closed(_)) {
                tokio::spawn(caller.ask_again_and_again(rng, start + until));
            } else {
                let due = start + whole_millis(at);
                tokio::spawn(async move { caller.ask(rng, due).await });
            }
        }
    }

    async fn ask_again_and_again(self, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            if self.ask(rng.fork(), Instant::now()).await == Some(Fate::Refused) {
                sleep(PAUSE).await;
            }
        }
    }

    /// Sends one request and reads the answer; `None`: its fate was known with the head.
    async fn ask(&self, mut rng: Rng, sent: Instant) -> Option<Fate> {
        let class = &self.classes[self.index];
        let fails = class.failing.is_some_and(|(share, _)| rng.f64() < share);
        let job = Job { class: self.index, fails, seed: rng.u64(..) };
        self.journal.offered(self.index);
        let fate = self.exchange(job, sent).await;
        if let Some(fate) = fate {
            self.journal.ended(self.index, fate);
        }
        fate
    }

    async fn exchange(&self, job: Job, sent: Instant) -> Option<Fate> {
        let class = &self.classes[self.index];
        let leaves = class.leaves_after.map(|patience| sent + patience);
        let on_time = |fate| if sent.elapsed() > class.late_after { Fate::Late } else { fate };
        let mut request = Request::get(ORIGIN).body(job).expect("a request");
        request.extensions_mut().insert(class.priority);
        let answer = match before(leaves, self.service.clone().oneshot(request)).await {
            None => return Some(Fate::Left),
            Some(Err(_)) => return Some(Fate::Failed),
            Some(Ok(answer)) => answer,
        };
        if answer.extensions().get::<Shed>().is_some() {
            return Some(Fate::Refused);
        }
        if is_failure(&answer) {
            return Some(Fate::Failed);
        }
        if class.counts_at_head() {
            self.journal.ended(self.index, on_time(Fate::Served));
        }
        let fate = match before(leaves, read(answer.into_body(), class.reader)).await {
            None => Fate::Left,
            Some(false) => Fate::Failed,
            Some(true) => on_time(Fate::Served),
        };
        (!class.counts_at_head()).then_some(fate)
    }
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).expect("less than for ever"))
}

/// Drops the work at a time; `None`: it was not done.
async fn before<W: Future>(end: Option<Instant>, work: W) -> Option<W::Output> {
    match end {
        Some(end) => timeout_at(end, work).await.ok(),
        None => Some(work.await),
    }
}

fn is_failure<B>(answer: &Response<B>) -> bool {
    !is_ok(answer.headers()) || !answer.status().is_success()
}

/// Whether nothing in these headers or trailers says that a gRPC call has failed.
fn is_ok(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_none_or(|status| status == "0")
}

/// Reads a body; false: it broke off.
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
