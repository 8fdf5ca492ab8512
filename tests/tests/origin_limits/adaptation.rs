//! How the limit of an origin adapts to the responses of its server.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::Ordering::SeqCst;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{Cause, OriginLimitLayer, RetryBudget, RetryLayer};

use super::{
    INITIAL_LIMIT, LimitedBody, ORIGIN, SECOND, Server, get, is_local, limiter, spawn_calls, status,
};

#[tokio::test(start_paused = true)]
async fn fast_connection_errors_do_not_change_the_limit() {
    let layer = OriginLimitLayer::new("search");
    let client =
        layer.layer(service_fn(|_: Request<()>| ready(Err::<Response<ScriptedBody>, _>("no"))));
    for _ in 0..1_000 {
        assert!(client.clone().oneshot(get(ORIGIN)).await.is_err());
    }
    let limiter = limiter(&layer, ORIGIN);
    assert_eq!((limiter.snapshot().limit, limiter.snapshot().in_flight), (INITIAL_LIMIT, 0));
    assert_eq!(limiter.last_change(), None);
}

#[tokio::test(start_paused = true)]
async fn rejections_by_a_server_lower_the_limit_for_that_server_alone() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let layer = OriginLimitLayer::new("search");
        let client = layer.layer(service_fn(move |request: Request<()>| async move {
            sleep(SECOND / 100).await;
            let mut response = Response::new(ScriptedBody::default());
            if request.uri().host() == Some("here") {
                *response.status_mut() = status;
            }
            Ok::<_, Infallible>(response)
        }));
        for uri in [ORIGIN, "http://there/"] {
            for _ in 0..40 {
                for call in spawn_calls(&client, uri, 10) {
                    call.await.expect("no panic");
                }
            }
        }
        let here = limiter(&layer, ORIGIN);
        assert!(here.snapshot().limit < 10, "{status}: {:?}", here.snapshot());
        let cause = here.last_change().expect("the limit changed").cause;
        assert!(matches!(cause, Cause::Pushback { .. }), "{status}: {cause}");
        assert_eq!(limiter(&layer, "http://there/").snapshot().limit, INITIAL_LIMIT, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_is_rejected_while_the_server_has_capacity() {
    // Half a second of work at a hundred requests a second: fifty in flight on average.
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(usize::MAX >> 4, SECOND / 2);
    let client = server.behind(&layer);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut calls = JoinSet::new();
    for _ in 0..3_000 {
        sleep(SECOND.mul_f64(rng.f64() / 50.0)).await;
        calls.spawn(status(client.clone(), ORIGIN));
    }
    // A burst of which half has to queue.
    for _ in 0..2 * INITIAL_LIMIT {
        calls.spawn(status(client.clone(), "http://there/"));
    }
    assert!(calls.join_all().await.iter().all(|&status| status == StatusCode::OK));
}

/// Sends `rate` calls a second at random times for `seconds`; returns how many were rejected locally.
async fn send_at_rate<S>(client: &S, rate: u32, seconds: u32, seed: u64) -> usize
where
    S: Service<Request<()>, Response = Response<LimitedBody>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut calls = JoinSet::new();
    for _ in 0..rate * seconds {
        sleep(SECOND.mul_f64(2.0 * rng.f64() / f64::from(rate))).await;
        let client = client.clone();
        calls.spawn(
            async move { is_local(&client.oneshot(get(ORIGIN)).await.expect("infallible")) },
        );
    }
    calls.join_all().await.into_iter().filter(|&local| local).count()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_rejects_above_eight_in_flight_seldom_has_to() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(8, SECOND / 50);
    server.max_in_flight.store(8, SeqCst);
    let client = server.behind(&layer);
    for seed in 1..=3 {
        send_at_rate(&client, 800, 5, seed).await;
    }
    let [served, rejected] = [&server.served, &server.rejected].map(|count| count.load(SeqCst));
    assert!(8 * rejected < served, "{served} served, {rejected} rejected");
}

/// The server takes eight requests of each client at once, and is sent about twice its capacity.
#[tokio::test(start_paused = true)]
async fn clients_that_share_a_full_server_lower_their_limits() {
    for clients in [2, 4] {
        let max_in_flight = 8 * clients;
        let server = Server::new(max_in_flight, SECOND / 50);
        server.max_in_flight.store(max_in_flight, SeqCst);
        let mut senders = JoinSet::new();
        for seed in 1..=clients {
            let client = server.behind(&OriginLimitLayer::new("search"));
            senders.spawn(async move { send_at_rate(&client, 800, 10, seed as u64).await });
        }
        senders.join_all().await;
        let [served, rejected] = [&server.served, &server.rejected].map(|count| count.load(SeqCst));
        assert!(4 * rejected < served, "{clients} clients: {served} served, {rejected} rejected");
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_recovers_after_an_outage() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(64, SECOND / 50);
    let client = server.behind(&layer);
    assert_eq!(send_at_rate(&client, 1_000, 5, 1).await, 0);
    server.max_in_flight.store(0, SeqCst);
    send_at_rate(&client, 1_000, 5, 2).await;
    assert!(
        limiter(&layer, ORIGIN).snapshot().limit < 10,
        "a high limit is of no use in an outage"
    );
    server.max_in_flight.store(usize::MAX, SeqCst);
    let rejected = send_at_rate(&client, 1_000, 10, 3).await;
    assert!(rejected < 300, "{rejected} of 10000 rejected after the end of the outage");
}

/// Four hundred callers send requests in a loop to eight slots of 20 ms.
#[tokio::test(start_paused = true)]
async fn four_hundred_callers_keep_a_server_busy_and_without_a_long_queue() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(8, SECOND / 50);
    let retries =
        RetryLayer::new().max_attempts(10).budget(RetryBudget::new(1.0).reserve(1_000_000));
    let client = retries.layer(server.behind(&layer));
    let mut callers = JoinSet::new();
    for _ in 0..400 {
        let client = client.clone();
        callers.spawn(async move {
            loop {
                let response = client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
                // The paused clock advances only when no task can run.
                if response.status() != StatusCode::OK {
                    sleep(SECOND / 10).await;
                }
            }
        });
    }
    sleep(5 * SECOND).await;
    let before = server.served.load(SeqCst);
    let mut in_flight: Vec<_> = Vec::new();
    for _ in 0..1_000 {
        sleep(SECOND / 100).await;
        in_flight.push(server.in_flight.load(SeqCst));
    }
    in_flight.sort_unstable();
    let served = server.served.load(SeqCst) - before;
    assert!(in_flight[990] <= 16, "99th percentile in flight at the server: {}", in_flight[990]);
    assert!((3_600..=4_000).contains(&served), "{served} of 4000");
    callers.abort_all();
}
