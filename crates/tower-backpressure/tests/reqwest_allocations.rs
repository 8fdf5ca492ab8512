//! What a successful request allocates in layers over reqwest's types. One test, as others would be counted.

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use reqwest::{Method, Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_backpressure::{BreakerLayer, CooldownLayer, OriginLimitLayer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The least allocations of a thousand requests, after a first one that makes the states of the origin. The harness has a
/// thread of its own, which allocates at times.
fn allocations<S>(mut client: S) -> usize
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut send = || {
        let url = "http://api.example/path".parse().expect("a URL");
        let mut call = pin!(client.call(Request::new(Method::GET, url)));
        let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut context) else {
            panic!("the response is there at once")
        };
        assert_eq!(response.status(), 200);
    };
    send();
    let of_a_thousand = |_| {
        let region = Region::new(ALLOCATOR);
        (0..1_000).for_each(|_| send());
        region.change().allocations
    };
    (0..9).map(of_a_thousand).min().expect("nine counts")
}

#[test]
fn layers_over_reqwest_allocate_nothing_while_requests_are_sent_but_for_bodies_that_hold_permits() {
    let served = |_: Request| ready(Ok(Response::from(http::Response::new(""))));
    let bare = allocations(service_fn(served));
    let breaker = BreakerLayer::new("api").layer(service_fn(served));
    let limited = OriginLimitLayer::new("api").layer(breaker);
    let layered = allocations(CooldownLayer::new("api").layer(limited));
    assert_eq!(layered, bare);
    let served = |_: Request| ready(Ok(Response::from(http::Response::new("served"))));
    let bare = allocations(service_fn(served));
    let limited = allocations(OriginLimitLayer::new("api").layer(service_fn(served)));
    assert!(limited - bare <= 8_000, "{limited} instead of {bare}, for a thousand responses");
}
