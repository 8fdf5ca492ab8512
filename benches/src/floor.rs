//! Lower bounds of the cost of admission: two atomic operations and one reading of the clock.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::Response;
use http_body::{Body, Frame};
use tokio::time::Instant;
use tower::Service;

/// Counts requests in flight and reads the clock once; limits nothing.
#[derive(Clone, Debug)]
pub struct Floor<S> {
    inner: S,
    in_flight: Arc<AtomicUsize>,
}

/// Counts requests in flight until the end of the body, as our layers do, and reads no clock.
#[derive(Clone, Debug)]
pub struct BodyFloor<S>(pub Floor<S>);

/// The future of [`BodyFloor`].
#[derive(Debug)]
pub struct BodyFloorFuture<F> {
    inner: F,
    counted: Option<Counted>,
}

/// The body of [`BodyFloor`].
#[derive(Debug)]
pub struct CountedBody<B> {
    inner: B,
    counted: Option<Counted>,
}

/// One request in flight, until dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S, R, B> Service<R> for BodyFloor<S>
where
    S: Service<R, Response = Response<B>>,
    S::Future: Unpin,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = BodyFloorFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        let counted = Some(Counted(Arc::clone(&self.0.in_flight)));
        BodyFloorFuture { inner: self.0.inner.call(request), counted }
    }
}

impl<F, B, E> Future for BodyFloorFuture<F>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.inner).poll(cx);
        polled.map_ok(|response| {
            let counted = self.counted.take();
            response.map(|inner| CountedBody { inner, counted })
        })
    }
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if self.inner.is_end_stream() {
            self.counted = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// The future of [`Floor`].
#[derive(Debug)]
pub struct FloorFuture<F> {
    inner: F,
    started: Instant,
    in_flight: Arc<AtomicUsize>,
}

impl<S> Floor<S> {
    /// Wraps a service.
    pub fn new(inner: S) -> Self {
        Self { inner, in_flight: Arc::default() }
    }
}

impl<S, R> Service<R> for Floor<S>
where
    S: Service<R>,
    S::Future: Unpin,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FloorFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let inner = self.inner.call(request);
        FloorFuture { inner, started: Instant::now(), in_flight: Arc::clone(&self.in_flight) }
    }
}

impl<F: Future + Unpin> Future for FloorFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

impl<F> Drop for FloorFuture<F> {
    fn drop(&mut self) {
        black_box(self.started);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
