//! Admitting a request allocates nothing.

use std::alloc::System;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use backpressure_benches::drive::once;
use backpressure_benches::served::Served;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};
use tower_backpressure::{AdmissionLayer, OriginLimitLayer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 2_000;
const REQUESTS: usize = 10_000;

/// Awaits so often before it answers.
#[derive(Clone, Debug)]
struct Awaiting(u32);

/// Keeps a waker while it waits, as a timer or a socket would, and wakes itself through it.
struct Answer {
    awaits: u32,
    kept: Option<Waker>,
}

impl Service<Request<()>> for Awaiting {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Answer {
        Answer { awaits: self.0, kept: None }
    }
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.awaits == 0 {
            self.kept = None;
            return Poll::Ready(Ok(Response::new(Full::default())));
        }
        self.awaits -= 1;
        self.kept.insert(cx.waker().clone()).wake_by_ref();
        Poll::Pending
    }
}

/// Allocations of `REQUESTS` requests after the warm-up; the least of several tries, since the
/// counter also sees the other threads of the test harness.
fn allocations<S, B>(mut service: S) -> usize
where
    S: Service<Request<()>, Response = Response<B>>,
    B: http_body::Body,
{
    (0..WARM_UP).for_each(|_| once(&mut service));
    let attempt = |_| {
        let region = Region::new(ALLOCATOR);
        (0..REQUESTS).for_each(|_| once(&mut service));
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..3).map(attempt).min().expect("three tries")
}

/// The counter sees all threads: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn admission_allocates_nothing() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    let fixed = || AdmissionLayer::fixed("fixed", 100);
    let adaptive = || AdmissionLayer::adaptive("adaptive");

    assert_eq!(allocations(Served), 0, "the service itself");
    assert_eq!(allocations(fixed().layer(Served)), 0, "fixed");
    assert_eq!(allocations(adaptive().layer(Served)), 0, "adaptive");
    for awaits in [1, 2] {
        let served = Awaiting(awaits);
        assert_eq!(allocations(fixed().layer(served.clone())), 0, "fixed, {awaits} awaits");
        assert_eq!(allocations(adaptive().layer(served)), 0, "adaptive, {awaits} awaits");
    }
}

/// Sends everything to one place.
#[derive(Clone, Debug)]
struct To<S> {
    uri: Uri,
    inner: S,
}

impl<S: Service<Request<()>>> Service<Request<()>> for To<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> S::Future {
        *request.uri_mut() = self.uri.clone();
        self.inner.call(request)
    }
}

#[test]
fn a_known_origin_allocates_nothing() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    let uri = Uri::from_static("http://search.internal:3000/");
    let limits = OriginLimitLayer::new("search");
    assert_eq!(allocations(To { uri: uri.clone(), inner: Served }), 0, "the service itself");
    assert_eq!(allocations(To { uri: uri.clone(), inner: limits.layer(Served) }), 0);
    let awaiting = limits.layer(Awaiting(2));
    assert_eq!(allocations(To { uri, inner: awaiting }), 0, "two awaits");
}
