//! A thousand reqwest clients with connections of their own, which send a request at once.
//!
//! Ignored by default, as they need 2 100 open files and some seconds of a processor:
//! `ulimit -n 4096; cargo test -p backpressure-tests --test herd_on_sockets -- --ignored`

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use backpressure_tests::server::serve;
use reqwest::{Client, Method, Request, Url};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_backpressure::{AdmissionLayer, Attempts, QueueBounds, RetryLayer};

const CLIENTS: usize = 1_000;
const SLOTS: usize = 16;
const WORK: Duration = Duration::from_millis(20);

/// The number of clients that were served, and their attempts.
async fn herd(address: SocketAddr) -> (usize, u32) {
    let url: Url = format!("http://{address}/").parse().expect("a URL");
    let (all_connected, mut calls) = (Arc::new(Barrier::new(CLIENTS)), JoinSet::new());
    for _ in 0..CLIENTS {
        let (url, all_connected) = (url.clone(), Arc::clone(&all_connected));
        calls.spawn(async move {
            let options = Client::builder().retry(reqwest::retry::never());
            let client = options.build().expect("valid options");
            // Connects: a herd is of requests, and not of new connections.
            let ready = url.join("ready").expect("a URL");
            client.get(ready).send().await.expect("a response").text().await.expect("a body");
            let client = RetryLayer::new().layer(client);
            all_connected.wait().await;
            let response = client.oneshot(Request::new(Method::GET, url)).await;
            let response = response.expect("a response");
            (response.status() == StatusCode::OK, Attempts::of(response.extensions()).0)
        });
    }
    let calls = calls.join_all().await;
    let served = calls.iter().filter(|(served, _)| *served).count();
    (served, calls.iter().map(|(_, attempts)| attempts).sum())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs 2 100 open files"]
async fn a_herd_against_our_server_takes_two_attempts_each() {
    let layer =
        AdmissionLayer::fixed("herd", SLOTS).queue(QueueBounds::new(SLOTS, Duration::from_secs(1)));
    let work = get(|| sleep(WORK));
    let app = Router::new().route("/", work).layer(layer).route("/ready", get(|| async {}));
    let (served, attempts) = herd(serve(app).await).await;
    let attempts = f64::from(attempts) / CLIENTS as f64;
    println!("{served} served, {attempts} attempts a request");
    assert_eq!(served, CLIENTS);
    assert!(attempts <= 2.02, "{attempts} attempts a request");
}

/// As many requests at once as there are slots; any other is told to come back in a second.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs 2 100 open files"]
async fn a_herd_that_is_told_one_second_is_served_without_a_second_peak() {
    let (slots, served) = (Arc::new(Semaphore::new(SLOTS)), Arc::new(AtomicUsize::new(0)));
    let (arrivals, start) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
    let recorded = Arc::clone(&arrivals);
    let work = get(move || {
        let (slots, served) = (Arc::clone(&slots), Arc::clone(&served));
        let start = *start.lock().expect("no panic").get_or_insert_with(Instant::now);
        recorded.lock().expect("no panic").push(start.elapsed());
        async move {
            let Ok(_slot) = slots.try_acquire() else {
                return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response();
            };
            sleep(WORK).await;
            served.fetch_add(1, SeqCst).to_string().into_response()
        }
    });
    let app = Router::new().route("/", work).route("/ready", get(|| async {}));
    let (served, attempts) = herd(serve(app).await).await;
    let attempts = f64::from(attempts) / CLIENTS as f64;
    let arrivals = arrivals.lock().expect("no panic");
    let mut tenths = vec![0_usize; 100];
    for at in arrivals.iter().filter(|at| at.as_millis() >= 900) {
        tenths[usize::try_from(at.as_millis() / 100).expect("small").min(99)] += 1;
    }
    println!("{served} served, {attempts} attempts a request, returns in each tenth {tenths:?}");
    assert!(served >= 950 && attempts <= 3.0, "{served} served, {attempts} attempts a request");
    assert!(tenths.iter().all(|&tenth| tenth <= CLIENTS / 5), "{tenths:?}");
}
