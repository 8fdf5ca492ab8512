//! What a successful request allocates in the retry layer. One test, as others would be counted.

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_backpressure::RetryLayer;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_request_that_succeeds_at_once_allocates_nothing() {
    let served =
        service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let mut client = RetryLayer::new().layer(served);
    let mut context = Context::from_waker(Waker::noop());
    let mut send = || {
        let mut call = pin!(client.call(Request::new(())));
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut context) else {
            panic!("the response is there at once")
        };
        assert_eq!(response.status(), 200);
    };
    // The first request makes the handles of the metrics.
    send();
    let region = Region::new(ALLOCATOR);
    for _ in 0..1_000 {
        send();
    }
    assert_eq!(region.change().allocations, 0);
}
