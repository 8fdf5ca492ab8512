//! Checks that admitting a request allocates nothing.

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
use tower_backpressure::server::{QuotaKey, QuotaLayer, RateLimitFields};
use tower_backpressure::{
    AdmissionLayer, BreakerLayer, CooldownLayer, OriginLimitLayer, Quota, ThrottleLayer,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests before the measurement: more than the 256 that a new adaptive layer meters one by one.
const WARM_UP_REQUESTS: usize = 2_000;

/// Enough to notice an allocation in one of some thousand requests.
const REQUESTS: usize = 10_000;

/// A service that awaits this many times before it responds.
#[derive(Clone, Debug)]
struct Awaiting(u32);

/// Keeps a waker while it waits, as a timer or a socket does, and wakes itself through it.
struct AwaitingFuture {
    awaits: u32,
    waker: Option<Waker>,
}

impl Service<Request<()>> for Awaiting {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = AwaitingFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> AwaitingFuture {
        AwaitingFuture { awaits: self.0, waker: None }
    }
}

impl Future for AwaitingFuture {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.awaits == 0 {
            self.waker = None;
            return Poll::Ready(Ok(Response::new(Full::default())));
        }
        self.awaits -= 1;
        self.waker.insert(cx.waker().clone()).wake_by_ref();
        Poll::Pending
    }
}

/// Allocations of `REQUESTS` requests after the warm-up. The least of three measurements counts, since the
/// counter also sees the threads of the test harness.
fn allocations<S, B>(mut service: S) -> usize
where
    S: Service<Request<()>, Response = Response<B>>,
    B: http_body::Body,
{
    (0..WARM_UP_REQUESTS).for_each(|_| once(&mut service));
    let measure = |_| {
        let region = Region::new(ALLOCATOR);
        (0..REQUESTS).for_each(|_| once(&mut service));
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..3).map(measure).min().expect("three measurements")
}

/// Runs one test at a time, since the counter sees all threads.
fn exclusive() -> MutexGuard<'static, ()> {
    static EXCLUSIVE: Mutex<()> = Mutex::new(());
    EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn admission_allocates_nothing() {
    let _exclusive = exclusive();
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

#[test]
fn a_quota_without_fields_allocates_nothing() {
    let _exclusive = exclusive();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    let quota = Quota::per_second(1_000_000_000).and(Quota::per_day(1_000_000_000_000));
    let by_path = |head: &http::request::Parts| Some(QuotaKey::from(head.uri.path()));
    for fields in [RateLimitFields::None, RateLimitFields::Draft11] {
        let service = QuotaLayer::per("quota", by_path, quota).fields(fields).layer(Served);
        // What is left and how it stands are told anew each time.
        let most = if fields == RateLimitFields::None { 0 } else { 10 * REQUESTS };
        let allocations = allocations(service);
        assert!(allocations <= most, "{fields:?}: {allocations}");
    }
}

/// Gives every request one URI.
#[derive(Clone, Debug)]
struct WithUri<S> {
    uri: Uri,
    inner: S,
}

impl<S: Service<Request<()>>> Service<Request<()>> for WithUri<S> {
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
fn a_client_that_nothing_holds_back_allocates_nothing_for_its_decisions() {
    let _exclusive = exclusive();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    let uri = Uri::from_static("http://search.internal/");
    let cooldown = CooldownLayer::new("search").layer(Served);
    assert_eq!(allocations(WithUri { uri: uri.clone(), inner: cooldown }), 0, "cool-down");
    let breaker = BreakerLayer::new("search").layer(Served);
    assert_eq!(allocations(WithUri { uri: uri.clone(), inner: breaker }), 0, "breaker");
    let throttle = ThrottleLayer::new("search").layer(Served);
    assert_eq!(allocations(WithUri { uri, inner: throttle }), 0, "throttle");
}

#[test]
fn a_known_origin_allocates_nothing() {
    let _exclusive = exclusive();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    let uri = Uri::from_static("http://search.internal:3000/");
    let limits = OriginLimitLayer::new("search");
    assert_eq!(allocations(WithUri { uri: uri.clone(), inner: Served }), 0, "the service itself");
    assert_eq!(allocations(WithUri { uri: uri.clone(), inner: limits.layer(Served) }), 0);
    let awaiting = limits.layer(Awaiting(2));
    assert_eq!(allocations(WithUri { uri, inner: awaiting }), 0, "two awaits");
}
