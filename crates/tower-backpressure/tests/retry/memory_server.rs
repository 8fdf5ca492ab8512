//! A server in memory, for the paused clock.

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

/// When each attempt arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    pub(crate) fn note(&self) -> usize {
        let mut arrivals = self.0.lock().unwrap();
        arrivals.push(Instant::now());
        arrivals.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let arrivals = self.0.lock().unwrap();
        arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

pub(crate) type Answers = Ready<Result<Response<&'static str>, Infallible>>;

/// A server that gives these answers in turn, the last one for ever.
pub(crate) fn server(
    arrivals: &Arrivals,
    answers: &[Response<&'static str>],
) -> ServiceFn<impl FnMut(Request<()>) -> Answers + Clone + Send + use<>> {
    let arrivals = arrivals.clone();
    let answers: Arc<[_]> = answers.into();
    service_fn(move |_request| {
        let turn = arrivals.note().min(answers.len());
        ready(Ok(answers[turn - 1].clone()))
    })
}

pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)]) -> Response<&'static str> {
    let mut response = Response::new("the server's own words");
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

pub(crate) fn ok() -> Response<&'static str> {
    answer(200, &[])
}

pub(crate) fn request(method: Method) -> Request<()> {
    Request::builder().method(method).body(()).unwrap()
}

pub(crate) fn get() -> Request<()> {
    request(Method::GET)
}

/// Enough for tests that are not about the budget.
pub(crate) fn rich() -> RetryBudget {
    RetryBudget::new(1.0).reserve(1_000)
}
