//! The chain over axum and reqwest, on the loopback interface.
//!
//! Ignored by default, as a busy machine is one more slow service:
//! `cargo test -p backpressure-tests --test chain -- --ignored --nocapture`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use backpressure_tests::server::serve;
use http::{StatusCode, Uri};
use reqwest::{Client, Method, Request, Url};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::{BackpressureClient, Unavailable};
use tower_backpressure::{
    AdmissionLayer, ClientStack, OriginLimitLayer, RequestInfo, RequestInfoLayer,
};

use super::{Calls, MS, SECOND, SLOTS, SLOW_UNTIL, Slots, possible};

/// Less than half of what the last service can do, so that a shared machine can keep up.
const RATE: f64 = 300.0;

/// The URL of the next service, and the client for it.
type Next<C> = Arc<(Url, C)>;

fn reqwest_client() -> Client {
    let options = Client::builder().retry(reqwest::retry::never()).timeout(SECOND);
    options.build().expect("valid options")
}

fn url(address: SocketAddr) -> Url {
    format!("http://{address}/").parse().expect("a URL")
}

/// What a client without layers does: three attempts, each given up after a second.
async fn try_three_times(next: &(Url, Client)) -> StatusCode {
    for _ in 0..3 {
        match next.1.get(next.0.clone()).send().await {
            Ok(response) if response.status() == StatusCode::OK => return StatusCode::OK,
            _ => {}
        }
    }
    StatusCode::BAD_GATEWAY
}

async fn work(State(slots): State<Slots>) -> &'static str {
    slots.work_marked().await;
    "done"
}

async fn forward_bare(State(next): State<Next<Client>>) -> StatusCode {
    sleep(2 * MS).await;
    try_three_times(&next).await
}

async fn forward(
    State(next): State<Next<BackpressureClient<Client>>>,
    Extension(info): Extension<RequestInfo>,
) -> Response {
    sleep(2 * MS).await;
    let (url, client) = (next.0.clone(), next.1.clone());
    let mut request = Request::new(Method::GET, url);
    info.carry_to(&mut request);
    match client.oneshot(request).await {
        Ok(response) => match Unavailable::of(&response) {
            Some(unavailable) => unavailable.into_response(),
            None => response.status().into_response(),
        },
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

async fn without_layers() -> Calls {
    let last = Router::new().route("/", get(work)).with_state(Slots::new());
    let mut address = serve(last).await;
    for _ in 0..2 {
        let next = Arc::new((url(address), reqwest_client()));
        address = serve(Router::new().route("/", get(forward_bare)).with_state(next)).await;
    }
    let next = Arc::new((url(address), reqwest_client()));
    let calls = Calls::make(RATE, || {
        let next = Arc::clone(&next);
        async move { try_three_times(&next).await == StatusCode::OK }
    });
    calls.await
}

/// The last service knows its slots; clients need not find them by experiment.
fn stack(name: &str) -> ClientStack {
    ClientStack::new(name).origin_limit(OriginLimitLayer::new(name).dry_run(true))
}

async fn with_layers() -> Calls {
    let last = Router::new().route("/", get(work)).with_state(Slots::new());
    let last = last.layer(AdmissionLayer::fixed("last", SLOTS));
    let mut address = serve(last.layer(RequestInfoLayer::from_headers())).await;
    for name in ["second", "first"] {
        let stack = stack(name);
        let origin: Uri = url(address).as_str().parse().expect("a URI");
        let next = Arc::new((url(address), stack.layer(reqwest_client())));
        let service = Router::new()
            .route("/", get(forward).layer(stack.dependency(&origin)))
            .layer(AdmissionLayer::fixed(name, 1_000))
            .layer(RequestInfoLayer::from_headers());
        address = serve(service.with_state(next)).await;
    }
    let client = stack("client").attempt_timeout(SECOND).layer(reqwest_client());
    let calls = Calls::make(RATE, || {
        let client = client.clone();
        let mut request = Request::new(Method::GET, url(address));
        RequestInfo::default().deadline(Instant::now() + 3 * SECOND).carry_to(&mut request);
        async move { client.oneshot(request).await.is_ok_and(|it| it.status() == StatusCode::OK) }
    });
    calls.await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "its verdict depends on the speed of the machine"]
async fn a_chain_of_three_services_collapses_without_layers_and_not_with_them() {
    let bare = without_layers().await;
    bare.print("without layers");
    let layered = with_layers().await;
    layered.print("with layers");
    let after =
        |calls: &Calls, span: Duration| calls.served(SLOW_UNTIL + SECOND, SLOW_UNTIL + span);
    assert!((after(&bare, 3 * SECOND) as f64) < 0.5 * 2.0 * RATE);
    let share = layered.all_served() as f64 / possible(RATE);
    let back = after(&layered, 2 * SECOND) as f64 / RATE;
    println!("with layers {share:.3} of the possible, {back:.3} in the second second");
    assert!(share >= 0.95 && back >= 0.95);
}
