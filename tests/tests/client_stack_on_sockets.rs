//! All client layers over reqwest and hyper, on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use backpressure_tests::server::serve;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_backpressure::client::{BreakerPhase, CooldownPhase, TimedOut};
use tower_backpressure::{
    BreakerLayer, ClientStack, CooldownLayer, RetryLayer, Shed, backpressure_client,
};

/// `/quota` rejects all requests until a second has passed since the first, `/busy` all of them for longer than a test takes,
/// `/hangs` never answers, `/text` does.
async fn start() -> (SocketAddr, Arc<AtomicUsize>) {
    let hits = Arc::new(AtomicUsize::new(0));
    let first = Arc::new(std::sync::OnceLock::new());
    let count = Arc::clone(&hits);
    let quota = move || {
        count.fetch_add(1, SeqCst);
        let first: Instant = *first.get_or_init(Instant::now);
        async move {
            match first.elapsed() < Duration::from_secs(1) {
                true => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "later"),
                false => (StatusCode::OK, [("retry-after", "0")], "done"),
            }
        }
    };
    let app = Router::new()
        .route("/quota", get(quota))
        .route("/busy", get((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "600")])))
        .route("/hangs", get(std::future::pending::<&str>))
        .route("/text", get(|| async { "x".repeat(100_000) }));
    (serve(app).await, hits)
}

fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder().retry(reqwest::retry::never()).build().expect("valid options")
}

fn url(address: SocketAddr, path: &str) -> reqwest::Url {
    format!("http://{address}{path}").parse().expect("a URL")
}

fn get_request(url: &reqwest::Url) -> reqwest::Request {
    reqwest::Request::new(reqwest::Method::GET, url.clone())
}

#[tokio::test]
async fn all_callers_wait_for_what_one_was_told_and_are_served_over_reqwest() {
    let (address, hits) = start().await;
    let cooldown = CooldownLayer::new("quota");
    let client = ClientStack::new("quota").cooldown(cooldown.clone()).layer(reqwest_client());
    let url = url(address, "/quota");
    let first = tokio::spawn(client.clone().oneshot(get_request(&url)));
    let origin: Uri = url.as_str().parse().expect("a URI");
    let is_told = || {
        let known = cooldown.snapshot(&origin);
        known.is_some_and(|it| it.phase != CooldownPhase::Inactive)
    };
    // A test that is suspended for that second finds the first call served.
    while !is_told() && !first.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let calls: Vec<_> =
        (0..50).map(|_| tokio::spawn(client.clone().oneshot(get_request(&url)))).collect();
    for call in calls.into_iter().chain([first]) {
        let response = call.await.expect("no panic").expect("a response");
        assert_eq!((response.status().as_u16(), response.url()), (200, &url));
        assert_eq!(response.text().await.expect("a body"), "done");
    }
    assert_eq!(hits.load(SeqCst), 52, "the first one twice, and the others once");
}

#[tokio::test]
async fn responses_made_in_the_client_have_the_url_of_their_request() {
    let (address, _) = start().await;
    let (hangs, busy) = (url(address, "/hangs"), url(address, "/busy"));
    let stack = || {
        let cooldown = CooldownLayer::new("busy").hold(0, Duration::ZERO);
        ClientStack::new("busy").retry(RetryLayer::named("busy").max_attempts(1)).cooldown(cooldown)
    };
    let client = stack().attempt_timeout(Duration::from_millis(200)).layer(reqwest_client());
    let late = client.oneshot(get_request(&hangs)).await.expect("a response");
    assert_eq!((late.status().as_u16(), late.url()), (504, &hangs));
    assert!(late.extensions().get::<TimedOut>().is_some());
    let client = stack().layer(reqwest_client());
    for expected in [429, 503] {
        let response = client.clone().oneshot(get_request(&busy)).await.expect("a response");
        assert_eq!((response.status().as_u16(), response.url()), (expected, &busy));
        assert_eq!(response.extensions().get::<Shed>().is_some(), expected == 503);
        assert!(response.headers().contains_key("retry-after"));
    }
}

#[tokio::test]
async fn an_error_of_the_client_passes_through_and_opens_the_breaker() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let breaker = BreakerLayer::new("down");
    let client = ClientStack::new("down")
        .retry(RetryLayer::named("down").max_attempts(1))
        .breaker(breaker.clone())
        .layer(reqwest_client());
    let url = url(address, "/");
    for _ in 0..20 {
        let error = client.clone().oneshot(get_request(&url)).await.expect_err("refused");
        assert!(error.is_connect());
    }
    let response = client.oneshot(get_request(&url)).await.expect("a rejection is a response");
    assert_eq!(response.status().as_u16(), 503);
    let origin: Uri = url.as_str().parse().expect("a URI");
    assert_eq!(breaker.snapshot(&origin).expect("known").phase, BreakerPhase::Open);
}

#[tokio::test]
async fn bodies_pass_through_all_layers_over_hyper() {
    let (address, _) = start().await;
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = backpressure_client("text", hyper);
    let request =
        || Request::get(format!("http://{address}/text")).body(Full::default()).expect("a request");
    let calls: Vec<_> = (0..150).map(|_| tokio::spawn(client.clone().oneshot(request()))).collect();
    let mut responses = Vec::new();
    for call in calls {
        responses.push(call.await.expect("no panic").expect("a response"));
    }
    for response in responses {
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a complete body").to_bytes();
        assert_eq!(body.len(), 100_000);
    }
}
