//! A client process that is suspended by SIGSTOP: while a crowd of its calls waits for an origin that has told it when to
//! come back, those that stay are served once it goes on, and nothing is kept for those that left; and responses that come
//! meanwhile count, although the time for them is over.
//!
//! The client is this program, started again by itself: a process cannot look at itself while it is suspended.
#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::own_process::OwnProcess;
use backpressure_tests::server::serve;
use http::{StatusCode, Uri};
use reqwest::{Client, Method, Request, Url};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::{BreakerPhase, ClientStack, CooldownPhase};
use tower_backpressure::{BreakerLayer, CooldownLayer, OriginLimitLayer, RetryLayer};

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

/// As many as the limit of an origin lets through at first.
const IN_FLIGHT: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_come_while_the_process_is_suspended_are_no_time_outs() {
    let (asked, may_answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (seen, gate) = (Arc::clone(&asked), Arc::clone(&may_answer));
    let answer = async move || {
        seen.fetch_add(1, Relaxed);
        drop(gate.acquire().await.expect("never closed"));
    };
    let address = serve(Router::new().route("/", get(answer))).await;
    let origin = format!("http://{address}/");
    let mut client = OwnProcess::start("calls_with_a_short_attempt_timeout", ORIGIN, &origin);
    while asked.load(Relaxed) < IN_FLIGHT {
        sleep(SECOND / 1_000).await;
    }
    client.signal("-STOP");
    may_answer.add_permits(IN_FLIGHT);
    sleep(2 * ATTEMPT_TIMEOUT).await;
    client.signal("-CONT");
    let end =
        tokio::task::spawn_blocking(move || client.wait_for("ended")).await.expect("no panic");
    assert_eq!(end, format!(" {IN_FLIGHT} served, breaker {:?}", BreakerPhase::Closed));
}

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test]
#[ignore = "the client process of the test above"]
async fn calls_with_a_short_attempt_timeout() {
    let Ok(url) = std::env::var(ORIGIN) else { return };
    let (origin, url): (Uri, Url) = (url.parse().expect("a URI"), url.parse().expect("a URL"));
    let (retry, breaker) = (RetryLayer::named("calls").max_attempts(1), BreakerLayer::new("calls"));
    let stack = ClientStack::new("calls").retry(retry).breaker(breaker.clone());
    let client = stack.attempt_timeout(ATTEMPT_TIMEOUT).layer(Client::new());
    let call = || {
        let call = client.clone().oneshot(Request::new(Method::GET, url.clone()));
        async { call.await.is_ok_and(|response| response.status() == 200) }
    };
    let calls: Vec<_> = (0..IN_FLIGHT).map(|_| tokio::spawn(call())).collect();
    let mut served = 0;
    for call in calls {
        served += usize::from(call.await.expect("no panic"));
    }
    let phase = breaker.snapshot(&origin).expect("in use").phase;
    println!("ended {served} served, breaker {phase:?}");
}
