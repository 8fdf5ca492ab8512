//! An origin in virtual time that is in trouble for a while, and callers that send at a constant rate.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{ClientStack, CooldownLayer, RetryLayer};

use crate::memory_server::SECOND;

const BEGINS: Duration = Duration::from_secs(10);
const ENDS: Duration = Duration::from_secs(20);
const STOPS: Duration = Duration::from_secs(28);
/// Of a request that is served.
const WORK: Duration = Duration::from_millis(20);

/// What the origin does with one request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Head {
        status: u16,
        fields: &'static [(&'static str, &'static str)],
    },
    Fails(io::ErrorKind),
    Hangs,
    /// A 200 after this time.
    Slow(Duration),
    /// A 200 whose body ends after this time.
    SlowBody(Duration),
    /// A 200 whose body breaks.
    BodyFails,
}

/// What the origin does for ten seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    /// One in so many requests gets this answer.
    pub(super) one_in: usize,
    pub(super) answer: Answer,
    /// The others; `None`: they are served.
    pub(super) otherwise: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// Requests that came in the trouble and the second after, and attempts that reached the origin: where it refuses the
    /// connection, nothing does.
    pub(super) requests: usize,
    pub(super) attempts: usize,
    pub(super) served_meanwhile: f64,
    /// From the end of the trouble to the last request that was not served within a second.
    pub(super) back_after: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    at: Duration,
    took: Duration,
    served: bool,
}

pub(super) async fn run(trouble: Trouble, rate: u32) -> Report {
    let start = Instant::now();
    let attempts = Arc::new(Mutex::new(Vec::<Duration>::new()));
    let (counter, numbers) = (Arc::clone(&attempts), Arc::new(AtomicUsize::new(1)));
    let origin = service_fn(move |_: Request<()>| {
        let at = start.elapsed();
        let is_troubled = (BEGINS..ENDS).contains(&at);
        let answer = match numbers.fetch_add(1, Relaxed) % trouble.one_in == 0 {
            true => Some(trouble.answer),
            false => trouble.otherwise,
        };
        let answer = answer.filter(|_| is_troubled);
        if !matches!(answer, Some(Answer::Fails(io::ErrorKind::ConnectionRefused))) {
            counter.lock().unwrap().push(at);
        }
        respond(answer)
    });
    let stack = ClientStack::new("api")
        .deadline(5 * SECOND)
        .retry(RetryLayer::new().seed(7))
        .cooldown(CooldownLayer::new("api").seed(7));
    let client = stack.layer(origin);
    let mut calls = JoinSet::new();
    let requests = u32::try_from(STOPS.as_secs()).unwrap() * rate;
    for number in 0..requests {
        sleep_until(start + SECOND * number / rate).await;
        let client = client.clone();
        calls.spawn(async move {
            let at = start.elapsed();
            let request = Request::get("http://api.example/").body(()).unwrap();
            let served = match client.oneshot(request).await {
                Ok(response) if is_success(&response) => {
                    response.into_body().collect().await.is_ok()
                }
                _ => false,
            };
            Call { at, took: start.elapsed() - at, served }
        });
    }
    let mut calls = calls.join_all().await;
    calls.sort_by_key(|call| call.at);
    report(&calls, &attempts.lock().unwrap())
}

fn report(calls: &[Call], attempts: &[Duration]) -> Report {
    let with_a_second_after = BEGINS..ENDS + SECOND;
    let meanwhile = || calls.iter().filter(|call| (BEGINS..ENDS).contains(&call.at));
    let served = meanwhile().filter(|call| call.served).count();
    let is_late = |call: &&Call| !call.served || call.took >= SECOND;
    let last_late = calls.iter().rfind(is_late).map_or(Duration::ZERO, |call| call.at);
    Report {
        requests: calls.iter().filter(|call| with_a_second_after.contains(&call.at)).count(),
        attempts: attempts.iter().filter(|at| with_a_second_after.contains(at)).count(),
        served_meanwhile: served as f64 / meanwhile().count() as f64,
        back_after: last_late.saturating_sub(ENDS),
    }
}

fn is_success<B>(response: &Response<B>) -> bool {
    response.status() == 200 && !response.headers().contains_key("grpc-status")
}

async fn respond(answer: Option<Answer>) -> io::Result<Response<LateBody>> {
    let body = match answer {
        None => {
            sleep(WORK).await;
            LateBody::default()
        }
        Some(Answer::Head { status, fields }) => {
            sleep(Duration::from_millis(1)).await;
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            return Ok(response.body(LateBody::default()).unwrap());
        }
        Some(Answer::Fails(kind)) => {
            sleep(Duration::from_millis(1)).await;
            return Err(kind.into());
        }
        Some(Answer::Hangs) => std::future::pending().await,
        Some(Answer::Slow(time)) => {
            sleep(time).await;
            LateBody::default()
        }
        Some(Answer::SlowBody(time)) => {
            LateBody { sleep: Some(Box::pin(sleep(time))), fails: false }
        }
        Some(Answer::BodyFails) => LateBody { sleep: None, fails: true },
    };
    Ok(Response::new(body))
}

/// A body without data that ends late, or breaks.
#[derive(Debug, Default)]
pub(super) struct LateBody {
    sleep: Option<Pin<Box<Sleep>>>,
    fails: bool,
}

impl Body for LateBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
        }
        let broke = self.fails.then(|| Err(io::ErrorKind::ConnectionReset.into()));
        self.fails = false;
        Poll::Ready(broke)
    }
}
