//! A handler that never awaits hides its queue from whoever counts polls, and not from us.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::client::{Connection, text};
use backpressure_tests::server::serve;
use http::{StatusCode, Version};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_backpressure::{AdmissionLayer, QueueBounds};

const CONNECTIONS: usize = 48;
const WORK: Duration = Duration::from_millis(2);
/// Answers after which a limit must have settled: some four seconds of work.
const ANSWERS: usize = 1_500;

/// Keeps the worker and never looks up.
fn work() {
    let began = Instant::now();
    while began.elapsed() < WORK {
        std::hint::spin_loop();
    }
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Starts a server on a runtime of its own and storms it from this one, until it has answered
/// [`ANSWERS`] requests: how many of them it did, and how many it refused.
fn storm(server: impl Future<Output = SocketAddr> + Send + 'static) -> (usize, usize) {
    let (runtime, (send, receive)) = (one_worker(), mpsc::channel());
    runtime.spawn(async move { send.send(server.await) });
    let address = receive.recv().expect("it starts");
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let clients = Builder::new_current_thread().enable_all().build().expect("a runtime");
    clients.block_on(async {
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let counts = Arc::clone(&counts);
            let mut connection = Connection::open(address, Version::HTTP_11).await;
            connections.spawn(async move {
                while counts[0].load(Ordering::Relaxed) < ANSWERS {
                    connection.is_ready().await;
                    let answer = connection.get("/").await.expect("an answer");
                    let refused = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
                    text(answer).await;
                    counts[usize::from(refused)].fetch_add(1, Ordering::Relaxed);
                    if refused {
                        // Somewhat obedient: a client that hammers would measure itself.
                        tokio::time::sleep(5 * WORK).await;
                    }
                }
            });
        }
        connections.join_all().await;
    });
    runtime.shutdown_background();
    let [done, refused] = [0, 1].map(|which: usize| counts[which].load(Ordering::Relaxed));
    (done, refused)
}

#[test]
fn who_counts_polls_never_sees_a_handler_that_never_awaits() {
    let (places, most) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let (done, _) = storm(async move {
        let counter = Arc::clone(&places);
        let handler = get(async move || {
            seen.fetch_max(CONNECTIONS - counter.available_permits(), Ordering::Relaxed);
            work();
        });
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(places);
        serve(Router::new().route("/", handler).layer(limit)).await
    });
    assert!(done >= ANSWERS);
    // What the tests below are about: nobody would ever be refused here.
    assert_eq!(most.load(Ordering::Relaxed), 1);
}

#[test]
fn an_adaptive_limit_sees_and_bounds_a_handler_that_never_awaits() {
    let (most, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let (seen, hand_over) = (Arc::clone(&most), Arc::clone(&made));
    let (done, refused) = storm(async move {
        // Here, because it counts on the workers of the runtime it is made on.
        let layer = AdmissionLayer::adaptive("api").queue(QueueBounds::NONE);
        *hand_over.lock().expect("no panic") = Some(layer.clone());
        let limiter = layer.limiter().clone();
        let handler = get(async move || {
            seen.fetch_max(limiter.snapshot().in_flight, Ordering::Relaxed);
            work();
        });
        serve(Router::new().route("/", handler).layer(layer)).await
    });
    let layer = made.lock().expect("no panic").take().expect("the server started");
    let (most, limit) = (most.load(Ordering::Relaxed), layer.snapshot().limit);
    println!("{done} done, {refused} refused, at most {most} in flight, limit {limit}");
    assert!(most > 1, "its queue is counted");
    assert!(refused > 0, "and turned away");
    // One worker, pure computation: one that runs and one at hand.
    assert!((1..=4).contains(&limit), "the limit is {limit}");
}
