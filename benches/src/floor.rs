//! The least that an admission with a measurement can do: count in, read the clock, count out.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::Service;

/// Counts those in flight and reads the clock once; limits nothing.
#[derive(Clone, Debug)]
pub struct Floor<S> {
    inner: S,
    in_flight: Arc<AtomicUsize>,
}

/// The future of [`Floor`].
#[derive(Debug)]
pub struct FloorFuture<F> {
    inner: F,
    started: Instant,
    in_flight: Arc<AtomicUsize>,
}

impl<S> Floor<S> {
    /// Around a service.
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
