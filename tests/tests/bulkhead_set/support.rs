//! Requests to services behind a set of bulkheads.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt, service_fn};
use tower_backpressure::BulkheadSet;

pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(100);

/// Responds after the time in the request's extensions, or never.
pub(crate) fn service()
-> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(async |request: Request<()>| {
        match request.extensions().get::<Duration>() {
            Some(time) => sleep(*time).await,
            None => std::future::pending().await,
        }
        Ok(Response::new(String::new()))
    })
}

pub(crate) fn request(time: impl Into<Option<Duration>>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(time) = time.into() {
        request.extensions_mut().insert::<Duration>(time);
    }
    request
}

/// Sends a request; its status and how long the response took.
pub(crate) async fn send<S>(service: S, request: Request<()>) -> (u16, Duration)
where
    S: Service<Request<()>, Error = Infallible>,
    S::Response: Into<Response<tower_backpressure::ResponseBody<String>>>,
{
    let start = Instant::now();
    let Ok(response) = service.oneshot(request).await;
    (response.into().status().as_u16(), start.elapsed())
}

pub(crate) fn in_flight(set: &BulkheadSet, names: &[&str]) -> usize {
    names.iter().map(|name| set.layer(name).snapshot().in_flight).sum()
}
