//! A client process that is suspended by SIGSTOP while a crowd of its calls waits for an origin that has told it when to
//! come back: those that stay are served once it goes on, and nothing is kept for those that left.
//!
//! The client is this program, started again by itself: a process cannot look at itself while it is suspended.
#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::own_process::OwnProcess;
use backpressure_tests::server::serve;
use http::{StatusCode, Uri};
use reqwest::{Client, Method, Request, Url};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::{ClientStack, CooldownPhase};
use tower_backpressure::{CooldownLayer, OriginLimitLayer};

const SECOND: Duration = Duration::from_secs(1);
/// Each other caller leaves before the client goes on.
const CALLS: usize = 4_000;
/// The address of the server, in the environment of the client process.
const ORIGIN: &str = "ORIGIN";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_while_their_process_is_suspended_are_served_and_those_that_leave_keep_nothing()
 {
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&is_open);
    let answer = move || {
        let is_open = gate.load(Relaxed);
        async move {
            match is_open {
                true => (StatusCode::OK, [("retry-after", "")]),
                false => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]),
            }
        }
    };
    let address = serve(Router::new().route("/", get(answer))).await;
    let mut client =
        OwnProcess::start("calls_until_all_have_ended", ORIGIN, &format!("http://{address}/"));
    client.wait_for("waiting");
    client.signal("-STOP");
    // Longer than callers wait, and than the client was told to.
    sleep(4 * SECOND).await;
    is_open.store(true, Relaxed);
    client.signal("-CONT");
    let end =
        tokio::task::spawn_blocking(move || client.wait_for("ended")).await.expect("no panic");
    let end: Vec<usize> = end.split_whitespace().flat_map(str::parse).collect();
    let [served, held, in_flight, queued] = end[..] else { panic!("four numbers: {end:?}") };
    assert!(served >= CALLS / 2 * 8 / 10, "{served} of {}", CALLS / 2);
    assert_eq!((held, in_flight, queued), (0, 0, 0));
}

#[tokio::test]
#[ignore = "the client process of the test above"]
async fn calls_until_all_have_ended() {
    let Ok(url) = std::env::var(ORIGIN) else { return };
    let (origin, url): (Uri, Url) = (url.parse().expect("a URI"), url.parse().expect("a URL"));
    let (cooldown, limit) = (CooldownLayer::new("crowd"), OriginLimitLayer::new("crowd"));
    let stack = ClientStack::new("crowd").cooldown(cooldown.clone()).origin_limit(limit.clone());
    let client = stack.layer(Client::new());
    let call = || {
        let call = client.clone().oneshot(Request::new(Method::GET, url.clone()));
        async { call.await.is_ok_and(|response| response.status() == 200) }
    };
    tokio::spawn(call());
    while cooldown.snapshot(&origin).is_none_or(|it| it.phase != CooldownPhase::Quiet) {
        sleep(SECOND / 1_000).await;
    }
    let stay: Vec<_> = (0..CALLS / 2).map(|_| tokio::spawn(call())).collect();
    let leave: Vec<_> = (0..CALLS / 2).map(|_| tokio::spawn(timeout(2 * SECOND, call()))).collect();
    tokio::task::yield_now().await;
    println!("waiting");
    let mut served = 0;
    for call in stay {
        served += usize::from(call.await.expect("no panic"));
    }
    for call in leave {
        let _ = call.await.expect("no panic");
    }
    let held = cooldown.snapshot(&origin).expect("in use").held;
    let limit = limit.limiter(&origin).expect("in use").snapshot();
    println!("ended {served} {held} {} {}", limit.in_flight, limit.queued);
}
