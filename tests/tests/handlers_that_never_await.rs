//! Handlers and bodies that compute and never await: a limiter that counts running futures sees one at a time, an
//! adaptive limit sees the requests behind it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::client::{Connection, text};
use backpressure_tests::server::serve;
use bytes::Bytes;
use http::{StatusCode, Version};
use http_body::{Body, Frame};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_backpressure::{AdmissionLayer, Limiter, QueueBounds};

const CONNECTIONS: usize = 48;
const WORK: Duration = Duration::from_millis(2);
/// Responses after which a limit must have settled: about four seconds of work.
const MIN_RESPONSES: usize = 1_500;

/// Computes for [`WORK`] without an await.
fn compute() {
    let began = Instant::now();
    while began.elapsed() < WORK {
        std::hint::spin_loop();
    }
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Starts a server on a runtime of its own and sends it requests from this one until it has served
/// [`MIN_RESPONSES`] of them. Returns how many it served and how many it rejected.
fn overload(server: impl Future<Output = SocketAddr> + Send + 'static) -> (usize, usize) {
    let (runtime, (send, receive)) = (one_worker(), mpsc::channel());
    runtime.spawn(async move { send.send(server.await) });
    let address = receive.recv().expect("the server starts");
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let clients = Builder::new_current_thread().enable_all().build().expect("a runtime");
    clients.block_on(async {
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let counts = Arc::clone(&counts);
            let mut connection = Connection::open(address, Version::HTTP_11).await;
            connections.spawn(async move {
                while counts[0].load(Ordering::Relaxed) < MIN_RESPONSES {
                    connection.is_ready().await;
                    let response = connection.get("/").await.expect("a response");
                    let rejected = response.status() == StatusCode::SERVICE_UNAVAILABLE;
                    text(response).await;
                    counts[usize::from(rejected)].fetch_add(1, Ordering::Relaxed);
                    if rejected {
                        // Immediate retries would measure the client instead of the server.
                        tokio::time::sleep(5 * WORK).await;
                    }
                }
            });
        }
        connections.join_all().await;
    });
    runtime.shutdown_background();
    let [served, rejected] = [0, 1].map(|which: usize| counts[which].load(Ordering::Relaxed));
    (served, rejected)
}

#[test]
fn a_semaphore_around_a_handler_that_never_awaits_sees_one_request_at_a_time() {
    let (permits, max_in_flight) =
        (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&max_in_flight);
    let (served, _) = overload(async move {
        let counter = Arc::clone(&permits);
        let handler = get(async move || {
            seen.fetch_max(CONNECTIONS - counter.available_permits(), Ordering::Relaxed);
            compute();
        });
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(permits);
        serve(Router::new().route("/", handler).layer(limit)).await
    });
    assert!(served >= MIN_RESPONSES);
    // The premise of the next test: such a limiter would never reject a request here.
    assert_eq!(max_in_flight.load(Ordering::Relaxed), 1);
}

/// Overloads an app that is given a limiter's view and a place for the most requests in flight, behind an adaptive limit
/// without a queue. It has to count more than one request, to reject some, and to find how many one worker needs.
fn is_bounded(app: impl FnOnce(Limiter, Arc<AtomicUsize>) -> Router + Send + 'static) {
    let (max_in_flight, created) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let (seen, created_layer) = (Arc::clone(&max_in_flight), Arc::clone(&created));
    let (served, rejected) = overload(async move {
        // Created here, because it reads the number of workers of the current runtime.
        let layer = AdmissionLayer::adaptive("api").queue(QueueBounds::NONE);
        *created_layer.lock().expect("no panic") = Some(layer.clone());
        serve(app(layer.limiter().clone(), seen).layer(layer)).await
    });
    let layer = created.lock().expect("no panic").take().expect("the server started");
    let (max_in_flight, limit) = (max_in_flight.load(Ordering::Relaxed), layer.snapshot().limit);
    println!(
        "{served} served, {rejected} rejected, at most {max_in_flight} in flight, limit {limit}"
    );
    assert!(max_in_flight > 1, "requests behind the running one are counted");
    assert!(rejected > 0, "requests above the limit are rejected");
    // One worker and pure computation need one running request and one ready to run.
    assert!((1..=4).contains(&limit), "the limit is {limit}");
}

#[test]
fn an_adaptive_limit_counts_and_bounds_handlers_that_never_await() {
    is_bounded(|limiter, seen| {
        let handler = get(async move || {
            seen.fetch_max(limiter.snapshot().in_flight, Ordering::Relaxed);
            compute();
        });
        Router::new().route("/", handler)
    });
}

/// A body that is computed in so many parts when it is read, as that of a compression is.
struct Computed {
    parts: u32,
    limiter: Limiter,
    seen: Arc<AtomicUsize>,
}

impl Body for Computed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.parts == 0 {
            return Poll::Ready(None);
        }
        self.parts -= 1;
        self.seen.fetch_max(self.limiter.snapshot().in_flight, Ordering::Relaxed);
        compute();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"part")))))
    }
}

#[test]
fn an_adaptive_limit_counts_and_bounds_bodies_that_are_computed_as_they_are_read() {
    for parts in [1, 3] {
        is_bounded(move |limiter, seen| {
            let handler = get(async move || {
                let (limiter, seen) = (limiter.clone(), Arc::clone(&seen));
                axum::body::Body::new(Computed { parts, limiter, seen })
            });
            Router::new().route("/", handler)
        });
    }
}
