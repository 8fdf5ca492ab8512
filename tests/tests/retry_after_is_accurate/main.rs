//! The time in `Retry-After` is accurate: neither too early nor, once the load has changed, much too late.

mod crowds;
mod first_values;
mod held_permits;

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};

pub(crate) const SHORT_QUEUE: QueueBounds = QueueBounds::new(4, Duration::from_millis(100));

/// A service that responds after `time`, or never.
pub(crate) fn service_of(
    layer: &AdmissionLayer,
    time: Option<Duration>,
) -> impl Service<Request<()>, Response = Response<impl Send + use<>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static
+ use<> {
    layer.layer(service_fn(move |_: Request<()>| async move {
        match time {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    }))
}

/// Sends a request; the error is the `Retry-After` of its rejection in seconds.
pub(crate) async fn send<S, B>(service: &S) -> Result<(), u64>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    let response = service.clone().oneshot(Request::new(())).await.expect("infallible");
    if response.status() == StatusCode::OK {
        return Ok(());
    }
    Err(response.headers()["retry-after"].to_str().expect("text").parse().expect("a number"))
}

/// Starts `count` requests in tasks of their own.
pub(crate) fn send_at_once<S, B>(service: &S, count: usize) -> JoinSet<Result<(), u64>>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Send + 'static,
{
    (0..count)
        .map(|_| {
            let service = service.clone();
            async move { send(&service).await }
        })
        .collect()
}

/// Takes all free permits for this time.
pub(crate) fn hold_all(layer: &AdmissionLayer, time: Duration) {
    while let Ok(permit) = layer.limiter().try_acquire() {
        tokio::spawn(async move {
            sleep(time).await;
            drop(permit);
        });
    }
}
