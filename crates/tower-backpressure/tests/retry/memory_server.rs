//! A server in memory, for tests on the paused clock.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tower::service_fn;
use tower::util::ServiceFn;
use tower_backpressure::RetryBudget;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The instant at which each attempt arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    /// Records an attempt, and returns how many there are.
    pub(crate) fn record(&self) -> usize {
        let mut arrivals = self.0.lock().unwrap();
        arrivals.push(Instant::now());
        arrivals.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The time between each attempt and the next.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let arrivals = self.0.lock().unwrap();
        arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

pub(crate) type ResponseFuture = Ready<Result<Response<String>, Infallible>>;

/// A server that returns these responses in turn, and the last one from then on.
pub(crate) fn server(
    arrivals: &Arrivals,
    responses: &[Response<String>],
) -> ServiceFn<impl FnMut(Request<()>) -> ResponseFuture + Clone + Send + use<>> {
    let arrivals = arrivals.clone();
    let responses: Arc<[_]> = responses.into();
    service_fn(move |_request| {
        let count = arrivals.record().min(responses.len());
        ready(Ok(responses[count - 1].clone()))
    })
}

pub(crate) fn response(status: u16, headers: &[(&'static str, &str)]) -> Response<String> {
    let mut response = Response::new("the server's own body".to_owned());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

pub(crate) fn ok() -> Response<String> {
    response(200, &[])
}

pub(crate) fn request(method: Method) -> Request<()> {
    Request::builder().method(method).body(()).unwrap()
}

pub(crate) fn get() -> Request<()> {
    request(Method::GET)
}

/// A budget that no test spends.
pub(crate) fn ample_budget() -> RetryBudget {
    RetryBudget::new(1.0).reserve(1_000)
}
