//! A permit is released however its request ends: hundreds of requests of each kind, over HTTP/1 and
//! HTTP/2.

use std::future::pending;
use std::iter::repeat_n;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use backpressure_tests::client::{Connection, request};
use backpressure_tests::scripted_body::{Broken, End, ScriptedBody};
use backpressure_tests::seed::seeded_rng;
use backpressure_tests::server::{serve_each, wait_until_idle};
use fastrand::Rng;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{ServiceBuilder, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};
use tower_http::catch_panic::CatchPanicLayer;

/// Requests of each ending for each server and version of HTTP.
const REQUESTS_PER_ENDING: usize = 100;
/// The same in the test that runs when asked to: a million requests, over both layers, servers and versions.
const MANY_REQUESTS_PER_ENDING: usize = 9_260;
/// Concurrent clients, each with its own connection: as many as a limit and its queue admit where there are many requests.
const CLIENTS: usize = 8;
const MANY_CLIENTS: usize = 64;
/// Far longer than any request takes: only a request that hangs for ever exceeds it.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// How a request ends. The name of the variant is the path of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    Stream,
    Trailers,
    NoContent,
    NotModified,
    Head,
    Upgrade,
    Unread,
    Abandoned,
    BrokenBody,
    /// The client cancels the request; on HTTP/1 that ends the connection.
    Cancelled,
    /// The client closes the socket.
    Disconnected,
    Panic,
    Error,
}

const ENDINGS: [Ending; 14] = [
    Ending::Whole,
    Ending::Stream,
    Ending::Trailers,
    Ending::NoContent,
    Ending::NotModified,
    Ending::Head,
    Ending::Upgrade,
    Ending::Unread,
    Ending::Abandoned,
    Ending::BrokenBody,
    Ending::Cancelled,
    Ending::Disconnected,
    Ending::Panic,
    Ending::Error,
];

async fn handle(request: Request<Incoming>) -> Result<Response<ScriptedBody>, Broken> {
    let ending = ENDINGS.into_iter().find(|ending| format!("/{ending:?}") == request.uri().path());
    let body = ScriptedBody::pieces(3, 1_000);
    let (status, body) = match ending.expect("clients send the name of an ending") {
        Ending::Whole | Ending::Head => (StatusCode::OK, body.sized()),
        Ending::Stream | Ending::Unread => (StatusCode::OK, body),
        Ending::Trailers => (StatusCode::OK, body.trailers()),
        Ending::NoContent => (StatusCode::NO_CONTENT, ScriptedBody::default()),
        Ending::NotModified => (StatusCode::NOT_MODIFIED, ScriptedBody::default()),
        Ending::Upgrade => (StatusCode::SWITCHING_PROTOCOLS, ScriptedBody::default()),
        Ending::Abandoned => (StatusCode::OK, body.end(End::Hangs)),
        Ending::BrokenBody => (StatusCode::OK, body.end(End::Broken)),
        Ending::Cancelled | Ending::Disconnected => pending().await,
        // Unwinds without the panic hook, which would print each panic.
        Ending::Panic => resume_unwind(Box::new("a deliberate panic")),
        Ending::Error => return Err(Broken),
    };
    let mut response = Response::builder().status(status);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        response = response.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo");
    }
    Ok(response.body(body).expect("a response"))
}

/// Sends one request; false when the connection cannot be used again.
async fn send(connection: &mut Connection, ending: Ending) -> bool {
    let method = if ending == Ending::Head { Method::HEAD } else { Method::GET };
    let mut request = request(method, &format!("/{ending:?}"));
    if ending == Ending::Upgrade {
        request
            .headers_mut()
            .insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("echo"));
    }
    let response = connection.send(request);
    if matches!(ending, Ending::Cancelled | Ending::Disconnected) {
        // The handler never responds; its future is dropped when the client cancels.
        let cancelled = timeout(Duration::from_millis(2), response).await;
        assert!(cancelled.is_err(), "{ending:?} had a response");
        return ending == Ending::Cancelled;
    }
    let Ok(mut response) = response.await else {
        // When the body fails at once, hyper drops the head that it has not sent yet.
        let expected = matches!(ending, Ending::Panic | Ending::Error | Ending::BrokenBody);
        assert!(expected, "{ending:?} had no response");
        return true;
    };
    match ending {
        Ending::Unread => {}
        Ending::Abandoned => drop(response.body_mut().frame().await),
        Ending::Upgrade => {
            let upgraded = hyper::upgrade::on(response).await;
            assert!(upgraded.is_ok(), "{upgraded:?}");
            return false;
        }
        _ => while let Some(Ok(_)) = response.body_mut().frame().await {},
    }
    true
}

/// Ends a request in each of these ways; reconnects when the connection is closed.
async fn send_all(address: SocketAddr, version: Version, endings: Vec<Ending>) {
    let mut connection = Connection::open(address, version).await;
    for ending in endings {
        if !connection.is_ready().await {
            connection = Connection::open(address, version).await;
        }
        let reusable = timeout(HANG_TIMEOUT, send(&mut connection, ending)).await;
        if !reusable.unwrap_or_else(|_| panic!("{ending:?} hangs over {version:?}")) {
            connection = Connection::open(address, version).await;
        }
    }
}

async fn assert_permits_released(
    layer: &AdmissionLayer,
    address: SocketAddr,
    version: Version,
    per_ending: usize,
    rng: &mut Rng,
) {
    // HTTP/2 has no status 101.
    let endings = ENDINGS
        .into_iter()
        .filter(|&ending| version != Version::HTTP_2 || ending != Ending::Upgrade);
    let mut endings: Vec<_> = endings.flat_map(|ending| repeat_n(ending, per_ending)).collect();
    rng.shuffle(&mut endings);
    let count = if per_ending > REQUESTS_PER_ENDING { MANY_CLIENTS } else { CLIENTS };
    let mut clients = JoinSet::new();
    for endings in endings.chunks(endings.len().div_ceil(count)) {
        clients.spawn(send_all(address, version, endings.to_vec()));
    }
    clients.join_all().await;
    wait_until_idle(layer).await;
}

async fn assert_permits_released_by_all_servers(layer: AdmissionLayer, per_ending: usize) {
    let (_, mut rng) = seeded_rng();
    let layer = layer.queue(QueueBounds::new(64, HANG_TIMEOUT));

    let bare = serve_each(layer.clone(), service_fn(handle)).await;
    assert_permits_released(&layer, bare, Version::HTTP_11, per_ending, &mut rng).await;
    assert_permits_released(&layer, bare, Version::HTTP_2, per_ending, &mut rng).await;

    let with_catch_panic = ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(layer.clone());
    let with_catch_panic = serve_each(with_catch_panic, service_fn(handle)).await;
    assert_permits_released(&layer, with_catch_panic, Version::HTTP_11, per_ending, &mut rng).await;
    assert_permits_released(&layer, with_catch_panic, Version::HTTP_2, per_ending, &mut rng).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fixed_limit_releases_every_permit_over_sockets() {
    assert_permits_released_by_all_servers(AdmissionLayer::fixed("fixed", 6), REQUESTS_PER_ENDING)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adaptive_limit_releases_every_permit_over_sockets() {
    assert_permits_released_by_all_servers(
        AdmissionLayer::adaptive("adaptive"),
        REQUESTS_PER_ENDING,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo test --release -p backpressure-tests --test permits_are_released_on_sockets -- --ignored"]
async fn a_million_random_ends_over_sockets_release_every_permit() {
    let fixed = AdmissionLayer::fixed("fixed-many", 48);
    assert_permits_released_by_all_servers(fixed, MANY_REQUESTS_PER_ENDING).await;
    let adaptive = AdmissionLayer::adaptive("adaptive-many");
    assert_permits_released_by_all_servers(adaptive, MANY_REQUESTS_PER_ENDING).await;
}
