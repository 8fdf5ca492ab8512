//! `CooldownLayer`, `BreakerLayer` and `ThrottleLayer`: whether a client sends a request at all, on the paused
//! clock.

mod announced_time;
mod breaker;
mod cancellation;
mod cooldown;
mod dependency;
mod harmless;
mod held_back;
mod metrics;
mod misbehaviour;
mod outages;
mod rates;
mod restarts;
mod resumption;
mod slow_answers;
mod stack;
mod throttle;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::util::ServiceFn;
use tower::{Service, ServiceExt, service_fn};
use tower_backpressure::Shed;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const ORIGIN: &str = "http://here/";

type Reply = Response<ScriptedBody>;

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

fn reply(status: u16, headers: &[(&'static str, &'static str)]) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(ScriptedBody::default()).expect("a response")
}

fn ok() -> Reply {
    reply(200, &[])
}

/// Whether a layer made the response, and not the server.
fn is_local<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Shed>().is_some()
}

/// The seconds in the `Retry-After` of a response.
fn retry_after<B>(response: &Response<B>) -> Duration {
    let seconds = response.headers()["retry-after"].to_str().expect("text");
    Duration::from_secs(seconds.parse().expect("whole seconds"))
}

/// When each request arrived at a server.
#[derive(Clone, Debug)]
struct Arrivals {
    start: Instant,
    at: Arc<Mutex<Vec<Duration>>>,
}

impl Arrivals {
    fn new() -> Self {
        Self { start: Instant::now(), at: Arc::default() }
    }

    fn record(&self) -> Duration {
        let at = self.start.elapsed();
        self.at.lock().expect("no panic").push(at);
        at
    }

    fn count(&self) -> usize {
        self.at.lock().expect("no panic").len()
    }

    /// Arrivals at or after this time, and before the other one.
    fn between(&self, from: Duration, to: Duration) -> usize {
        self.at.lock().expect("no panic").iter().filter(|at| (from..to).contains(*at)).count()
    }
}

/// A server that answers at once, by the time since the start.
fn server<A>(
    arrivals: &Arrivals,
    answer: A,
) -> ServiceFn<impl FnMut(Request<()>) -> Ready<Result<Reply, Infallible>> + Clone + Send + use<A>>
where
    A: Fn(Duration) -> Reply + Clone + Send,
{
    let arrivals = arrivals.clone();
    service_fn(move |_request| ready(Ok(answer(arrivals.record()))))
}

/// Sends a request every `every` for `length`, each in a task of its own; all responses, in the order of the
/// requests.
async fn load<S, B>(client: &S, every: Duration, length: Duration) -> Vec<Response<B>>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
{
    let mut calls = JoinSet::new();
    let start = Instant::now();
    for index in 0_usize.. {
        let client = client.clone();
        calls.spawn(async move { (index, client.oneshot(get(ORIGIN)).await) });
        sleep(every).await;
        if start.elapsed() >= length {
            break;
        }
    }
    let mut responses = calls.join_all().await;
    responses.sort_by_key(|(index, _)| *index);
    responses.into_iter().map(|(_, response)| response.expect("infallible")).collect()
}
