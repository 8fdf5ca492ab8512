//! The stream of states: each second, the latest to slow readers, and no more readers than there may be.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use backpressure_dashboard::{Dashboard, router};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower_backpressure::AdmissionLayer;

use crate::{get, text};

const SECOND: Duration = Duration::from_secs(1);

/// The next event of a stream; `None`: it has ended.
pub(crate) async fn next(events: &mut Body) -> Option<String> {
    let frame = events.frame().await?.expect("no error").into_data().expect("data");
    Some(String::from_utf8(frame.to_vec()).expect("UTF-8"))
}

async fn sequence(events: &mut Body) -> Option<u64> {
    let event = next(events).await?;
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    let state: Value = serde_json::from_str(data).expect("JSON");
    state["sequence"].as_u64()
}

async fn open(dashboard: &Router) -> Body {
    let response = get(dashboard, "/events").await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

#[tokio::test(start_paused = true)]
async fn a_page_gets_the_latest_state_at_once_and_then_one_each_second() {
    let _others = crate::with_others().await;
    let dashboard: Router = router();
    sleep(SECOND * 3 / 2).await;
    let mut events = open(&dashboard).await;
    let begun = Instant::now();
    let first = sequence(&mut events).await.expect("a state");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    for after in 1..10 {
        assert_eq!(sequence(&mut events).await, Some(first + after));
        assert_eq!(begun.elapsed(), SECOND * after as u32 - SECOND / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_the_latest_state_and_none_of_those_between() {
    let _others = crate::with_others().await;
    let dashboard: Router = router();
    let (mut slow, mut quick) = (open(&dashboard).await, open(&dashboard).await);
    let first = sequence(&mut slow).await.expect("a state");
    assert_eq!(sequence(&mut quick).await, Some(first));
    for after in 1..=5 {
        assert_eq!(sequence(&mut quick).await, Some(first + after));
    }
    assert_eq!(sequence(&mut slow).await, Some(first + 5), "not the ones that it has missed");
}

#[tokio::test(start_paused = true)]
async fn pages_beyond_the_maximum_are_told_to_come_back_until_one_leaves_or_hangs() {
    let _others = crate::with_others().await;
    let dashboard: Router = Dashboard::new().max_clients(2).router();
    let (mut reading, hung) = (open(&dashboard).await, open(&dashboard).await);
    let refused = get(&dashboard, "/events").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    for _ in 0..12 {
        sequence(&mut reading).await.expect("a state");
    }
    // One that has read nothing for ten seconds gives way.
    let mut third = open(&dashboard).await;
    assert!(sequence(&mut third).await.is_some());
    assert_eq!(get(&dashboard, "/events").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(third);
    let _fourth = open(&dashboard).await;
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_twenty_seconds_so_that_a_shutdown_does_not_wait_for_pages() {
    let _others = crate::with_others().await;
    let dashboard: Router = router();
    let mut events = open(&dashboard).await;
    let begun = Instant::now();
    while sequence(&mut events).await.is_some() {}
    assert_eq!(begun.elapsed(), SECOND * 20);
}

#[tokio::test(start_paused = true)]
async fn while_a_policy_drains_each_stream_has_one_event() {
    let _others = crate::alone().await;
    let layer = AdmissionLayer::fixed("drained-of-events", 1);
    let dashboard: Router = router();
    layer.handle().drain();
    sleep(SECOND * 3 / 2).await;
    let mut events = open(&dashboard).await;
    assert!(sequence(&mut events).await.is_some());
    assert!(sequence(&mut events).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn history_is_kept_for_five_minutes_and_no_longer() {
    let _others = crate::with_others().await;
    let layer = AdmissionLayer::fixed("history", 7);
    let dashboard: Router = router();
    let id = layer.handle().id().to_string();
    let samples = async |of: &str| {
        let history = crate::json(&dashboard, "/history.json").await;
        history["policies"][&id][of].as_array().expect("a series").clone()
    };
    sleep(SECOND * 21 / 2).await;
    assert_eq!(samples("limit").await.len(), 11);
    layer.handle().pin(3);
    sleep(SECOND * 299).await;
    let limits = samples("limit").await;
    assert_eq!(limits.len(), 300);
    assert_eq!((&limits[0], &limits[299]), (&Value::from(7.0), &Value::from(3.0)));
    assert!(samples("p99_ms").await.iter().all(Value::is_null), "no request was timed");
}

#[tokio::test(start_paused = true)]
async fn a_router_made_outside_a_runtime_samples_from_its_first_request() {
    let _others = crate::with_others().await;
    let dashboard: Router = std::thread::spawn(router).join().expect("no panic");
    sleep(SECOND * 5).await;
    let sequence = async || crate::json(&dashboard, "/state.json").await["sequence"].clone();
    assert_eq!(sequence().await, 1, "the sample of when it was made");
    sleep(SECOND * 3 / 2).await;
    assert_eq!(sequence().await, 2);
    assert!(text(get(&dashboard, "/").await).await.contains("<title>Backpressure</title>"));
}

#[tokio::test]
async fn an_open_page_delays_no_shutdown_that_drains_first() {
    let _others = crate::alone().await;
    let admission = AdmissionLayer::fixed("shut-down", 1);
    let handle = admission.handle().clone();
    let app = Router::new().route("/", axum::routing::get(async || "hello")).layer(admission);
    let app = app.nest("/backpressure", router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(async { server.await });
    let url = format!("http://{address}/backpressure/events");
    let mut page = reqwest::get(url).await.expect("an answer");
    assert!(page.chunk().await.expect("no error").is_some());
    handle.drain();
    drop(stop);
    // The stream ends with its next event, long before the twenty seconds of any other.
    while page.chunk().await.expect("no error").is_some() {}
    server.await.expect("no panic").expect("it ends");
    handle.resume();
}
