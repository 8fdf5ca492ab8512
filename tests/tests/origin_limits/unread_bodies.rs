//! Bodies that the caller has not begun to read hold back none of the caller's other requests.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::OriginLimitLayer;

use super::{ORIGIN, SECOND, get, limiter};

type MakeBody = fn() -> ScriptedBody;

/// Sends all requests, reads all bodies once it has all heads, and returns how long the heads took.
async fn heads_before_bodies(calls: usize, body: MakeBody) -> Duration {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(move |_: Request<()>| async move {
        sleep(SECOND / 20).await;
        Ok::<_, Infallible>(Response::new(body()))
    }));
    let (start, mut all) = (Instant::now(), JoinSet::new());
    for _ in 0..calls {
        all.spawn(client.clone().oneshot(get(ORIGIN)));
    }
    let responses = all.join_all().await;
    let elapsed = start.elapsed();
    for response in responses {
        let response = response.expect("infallible");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a complete body");
    }
    assert_eq!(limiter(&layer, ORIGIN).snapshot().in_flight, 0);
    elapsed
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_no_body_before_it_has_all_heads_gets_all_of_them() {
    let bodies: [(&str, MakeBody); 4] = [
        ("short", || ScriptedBody::pieces(1, 100).sized()),
        ("short, of unknown length", || ScriptedBody::pieces(2, 100)),
        ("long", || ScriptedBody::pieces(10, 64 * 1024).sized()),
        ("long, of unknown length", || ScriptedBody::pieces(10, 64 * 1024)),
    ];
    for calls in [300, 1_000] {
        for (name, body) in bodies {
            let elapsed = heads_before_bodies(calls, body).await;
            assert!(elapsed < SECOND, "{calls} {name}: {elapsed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_left_unread_for_long_hold_back_no_later_request() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(1, 100).sized()))
    }));
    let mut unread = Vec::new();
    for _ in 0..1_000 {
        let response = client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        assert_eq!(response.status(), 200, "after {} unread bodies", unread.len());
        unread.push(response);
    }
}
