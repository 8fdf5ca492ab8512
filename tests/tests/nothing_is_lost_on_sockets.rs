//! Whatever becomes of a request, its place comes back: hundreds of each, over HTTP/1 and HTTP/2.

use std::future::pending;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use backpressure_tests::client::{Connection, request};
use backpressure_tests::script::{Broken, End, Script};
use backpressure_tests::seed::seeded;
use backpressure_tests::server::{all_gone, serve_each};
use fastrand::Rng;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{ServiceBuilder, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};
use tower_http::catch_panic::CatchPanicLayer;

/// Of each fate, for each layer and version of HTTP.
const EACH: usize = 100;
/// Clients at once, each with a connection of its own.
const CLIENTS: usize = 8;
/// Far more than anything takes; only what would hang for ever runs into it.
const BOUND: Duration = Duration::from_secs(30);

/// What becomes of a request. Its name is the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
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
    /// The client gives the request up; on HTTP/1 that ends the connection.
    Cancelled,
    /// The client closes the socket.
    Disconnected,
    Panic,
    Error,
}

const FATES: [Fate; 14] = [
    Fate::Whole,
    Fate::Stream,
    Fate::Trailers,
    Fate::NoContent,
    Fate::NotModified,
    Fate::Head,
    Fate::Upgrade,
    Fate::Unread,
    Fate::Abandoned,
    Fate::BrokenBody,
    Fate::Cancelled,
    Fate::Disconnected,
    Fate::Panic,
    Fate::Error,
];

async fn handle(request: Request<Incoming>) -> Result<Response<Script>, Broken> {
    let fate = FATES.into_iter().find(|fate| format!("/{fate:?}") == request.uri().path());
    let body = Script::pieces(3, 1_000);
    let (status, body) = match fate.expect("the clients know the fates") {
        Fate::Whole | Fate::Head => (StatusCode::OK, body.sized()),
        Fate::Stream | Fate::Unread => (StatusCode::OK, body),
        Fate::Trailers => (StatusCode::OK, body.trailers()),
        Fate::NoContent => (StatusCode::NO_CONTENT, Script::default()),
        Fate::NotModified => (StatusCode::NOT_MODIFIED, Script::default()),
        Fate::Upgrade => (StatusCode::SWITCHING_PROTOCOLS, Script::default()),
        Fate::Abandoned => (StatusCode::OK, body.end(End::Hangs)),
        Fate::BrokenBody => (StatusCode::OK, body.end(End::Broken)),
        Fate::Cancelled | Fate::Disconnected => pending().await,
        // Without the hook, which would print each of them.
        Fate::Panic => resume_unwind(Box::new("as ordered")),
        Fate::Error => return Err(Broken),
    };
    let mut response = Response::builder().status(status);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        response = response.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo");
    }
    Ok(response.body(body).expect("a response"))
}

/// One request; false when the connection cannot be used again.
async fn live(connection: &mut Connection, fate: Fate) -> bool {
    let method = if fate == Fate::Head { Method::HEAD } else { Method::GET };
    let mut request = request(method, &format!("/{fate:?}"));
    if fate == Fate::Upgrade {
        request
            .headers_mut()
            .insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("echo"));
    }
    let answer = connection.send(request);
    if matches!(fate, Fate::Cancelled | Fate::Disconnected) {
        // The handler never answers, so this is how it ends: with a future that is dropped.
        let given_up = timeout(Duration::from_millis(2), answer).await;
        assert!(given_up.is_err(), "{fate:?} was answered");
        return fate == Fate::Cancelled;
    }
    let Ok(mut answer) = answer.await else {
        // A body that breaks at once takes its head with it, which was not yet sent.
        let expected = matches!(fate, Fate::Panic | Fate::Error | Fate::BrokenBody);
        assert!(expected, "{fate:?} was not answered");
        return true;
    };
    match fate {
        Fate::Unread => {}
        Fate::Abandoned => drop(answer.body_mut().frame().await),
        Fate::Upgrade => {
            let upgraded = hyper::upgrade::on(answer).await;
            assert!(upgraded.is_ok(), "{upgraded:?}");
            return false;
        }
        _ => while let Some(Ok(_)) = answer.body_mut().frame().await {},
    }
    true
}

/// Lives through all of its fates on as few connections as survive them.
async fn live_all(address: SocketAddr, version: Version, fates: Vec<Fate>) {
    let mut connection = Connection::open(address, version).await;
    for fate in fates {
        if !connection.is_ready().await {
            connection = Connection::open(address, version).await;
        }
        let lived = timeout(BOUND, live(&mut connection, fate)).await;
        if !lived.unwrap_or_else(|_| panic!("{fate:?} hangs over {version:?}")) {
            connection = Connection::open(address, version).await;
        }
    }
}

async fn storm(layer: &AdmissionLayer, address: SocketAddr, version: Version, rng: &mut Rng) {
    // HTTP/2 has no 101.
    let fates =
        FATES.into_iter().filter(|&fate| version != Version::HTTP_2 || fate != Fate::Upgrade);
    let mut fates: Vec<_> = fates.flat_map(|fate| [fate; EACH]).collect();
    rng.shuffle(&mut fates);
    let mut clients = JoinSet::new();
    for fates in fates.chunks(fates.len().div_ceil(CLIENTS)) {
        clients.spawn(live_all(address, version, fates.to_vec()));
    }
    clients.join_all().await;
    all_gone(layer).await;
}

async fn storms(layer: AdmissionLayer) {
    let (_, mut rng) = seeded();
    let layer = layer.queue(QueueBounds::new(64, BOUND));

    let bare = serve_each(layer.clone(), service_fn(handle)).await;
    storm(&layer, bare, Version::HTTP_11, &mut rng).await;
    storm(&layer, bare, Version::HTTP_2, &mut rng).await;

    let caught = ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(layer.clone());
    let caught = serve_each(caught, service_fn(handle)).await;
    storm(&layer, caught, Version::HTTP_11, &mut rng).await;
    storm(&layer, caught, Version::HTTP_2, &mut rng).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fixed_limit_gets_every_place_back_from_the_network() {
    storms(AdmissionLayer::fixed("fixed", 6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adaptive_limit_gets_every_place_back_from_the_network() {
    storms(AdmissionLayer::adaptive("adaptive")).await;
}
