//! The choice of a policy allocates nothing, before and after a reload.

use std::alloc::System;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};
use tower_backpressure::policy::PolicySet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"served")))))
    }
}

fn file(limit: usize) -> String {
    let policies: String = (0..20)
        .map(|number| {
            format!(
                "[[policy]]\nname = \"p{number}\"\n\
                 match = {{ path = \"/p{number}/{{id}}\", host = \"*.example.com\", method = \"GET\" }}\n\
                 admission = \"api\"\nbulkhead = \"one\"\n"
            )
        })
        .collect();
    format!("[admission.api]\nlimit = {limit}\n[bulkhead.one]\nlimit = {limit}\n{policies}")
}

#[tokio::test]
async fn a_request_through_twenty_policies_allocates_nothing_before_and_after_a_reload() {
    let policies = PolicySet::parse(&file(100)).expect("a good file");
    let mut service = policies.layer(Inner);
    let mut send = |count: usize| {
        let requests = (0..count)
            .map(|_| Request::get("http://shop.example.com/p19/7").body(()).expect("a request"));
        let requests: Vec<_> = requests.collect();
        let region = Region::new(ALLOCATOR);
        for request in requests {
            let mut future = std::pin::pin!(service.call(request));
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(response)) = polled else { panic!("it is ready") };
            assert_eq!(response.status(), 200);
        }
        region.change().allocations
    };
    // The first requests make what is made once.
    send(100);
    assert_eq!(send(100), 0);
    policies.replace(&file(200)).expect("a good file");
    send(100);
    assert_eq!(send(100), 0);
}
