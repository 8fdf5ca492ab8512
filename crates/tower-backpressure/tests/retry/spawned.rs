//! Calls inside tasks of their own, over a client whose errors are boxed.
//!
//! `oneshot` inside an `async` block is not among them: there the compiler forgets that a `BoxError` borrows nothing,
//! for tower's own layers as well.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_backpressure::RetryLayer;
use tower_backpressure::client::{BackpressureClient, ClientStack};

type Boxed = BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

fn failing() -> Boxed {
    BoxCloneSyncService::new(service_fn(async |_| Err("reset".into())))
}

fn stack() -> BackpressureClient<Boxed> {
    ClientStack::new("api").layer(failing())
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_spawned() {
    let mut client = RetryLayer::new().layer(failing());
    let mut stack = stack();
    let calls = tokio::spawn(async move {
        let one = client.ready().await?.call(Request::default()).await;
        let other = stack.ready().await?.call(Request::default()).await;
        Ok::<_, BoxError>([one.map(drop), other.map(drop)])
    });
    for outcome in calls.await.unwrap().unwrap() {
        assert_eq!(outcome.unwrap_err().to_string(), "reset");
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_that_was_made_outside_can_be_spawned() {
    let outcome = tokio::spawn(stack().oneshot(Request::default())).await.unwrap();
    assert_eq!(outcome.err().unwrap().to_string(), "reset");
}
