//! The contract of tower's `Service`, and the checks of the options.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::mem;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{Retry, RetryBudget, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, get, ok, response, server};

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_holds_no_permit_of_the_service_inside() {
    let arrivals = Arrivals::default();
    let busy = response(503, &[("retry-after", "5")]);
    let inner = ConcurrencyLimit::new(server(&arrivals, &[busy, ok()]), 1);
    let service = RetryLayer::new().layer(inner);
    let start = Instant::now();
    let waiting = tokio::spawn(service.clone().oneshot(get()));
    sleep(SECOND).await;
    service.oneshot(get()).await.unwrap();
    assert!(start.elapsed() < 2 * SECOND, "the permit was free");
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "not polled after completion")]
async fn a_future_that_is_polled_after_completion_panics_and_sends_nothing() {
    let arrivals = Arrivals::default();
    let mut service = RetryLayer::new().layer(server(&arrivals, &[ok()]));
    let mut future = Box::pin(service.call(get()));
    future.as_mut().await.unwrap();
    let _ = future.await;
}

#[tokio::test(start_paused = true)]
async fn readiness_is_awaited_within_the_future_before_every_attempt() {
    /// Panics when it is called before it is ready, as the contract of `Service` allows.
    #[derive(Debug, Default)]
    struct Strict {
        ready: bool,
        calls: Arc<AtomicU32>,
    }

    impl Clone for Strict {
        fn clone(&self) -> Self {
            let calls = Arc::clone(&self.calls);
            Self { ready: false, calls }
        }
    }

    impl Service<Request<()>> for Strict {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Ready<Result<Response<String>, Infallible>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.ready = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: Request<()>) -> Self::Future {
            assert!(mem::take(&mut self.ready), "called before ready");
            self.calls.fetch_add(1, SeqCst);
            ready(Ok(response(503, &[])))
        }
    }

    let strict = Strict::default();
    let calls = Arc::clone(&strict.calls);
    let service = RetryLayer::new().layer(strict);
    service.clone().oneshot(get()).await.unwrap();
    assert_eq!(calls.load(SeqCst), 3);
}

#[test]
fn an_invalid_option_panics_when_it_is_set() {
    fn panics<T>(set: impl FnOnce() -> T + UnwindSafe) -> bool {
        catch_unwind(set).is_err()
    }
    assert!(panics(|| RetryLayer::new().max_attempts(0)));
    assert!(panics(|| RetryLayer::new().max_attempts(11)));
    assert!(panics(|| RetryLayer::new().deadline(Duration::ZERO)));
    assert!(panics(|| RetryLayer::new().max_retry_after(601 * SECOND)));
    assert!(panics(|| RetryLayer::new().backoff(Duration::ZERO, SECOND)));
    assert!(panics(|| RetryLayer::new().backoff(2 * SECOND, SECOND)));
    assert!(panics(|| RetryLayer::new().backoff(SECOND, 601 * SECOND)));
    assert!(panics(|| RetryBudget::new(1.1)));
    assert!(panics(|| RetryBudget::new(-0.1)));
    assert!(panics(|| RetryBudget::new(0.1).reserve(1_000_001)));
}

#[test]
fn a_service_made_by_a_service_builder_is_send_and_clone() {
    fn assert_send_and_clone<S>(_: &S)
    where
        S: Service<Request<()>, Future: Future + Send> + Clone + Send + Sync + 'static,
    {
    }
    let service: Retry<_> = ServiceBuilder::new()
        .layer(RetryLayer::named("payments-api"))
        .service(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(ok()))));
    assert_send_and_clone(&service);
}
