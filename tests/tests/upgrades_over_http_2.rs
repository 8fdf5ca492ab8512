//! WebSockets and tunnels over HTTP/2 (RFC 8441): a permit or a place as a stream, to the end of the connection inside.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::upgrade::{self, Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::util::ServiceFn;
use tower::{Layer, service_fn};
use tower_backpressure::server::{Admission, Handle};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, HeldPermit, PermitHandle, QueueBounds, StreamPolicy,
};

/// What a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

/// Echoes bytes on the stream until its client ends it. `/forgets` does so without its permit.
async fn tunnel(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let permit = request.extensions().get::<PermitHandle>().expect("the layer exposes it").clone();
    let held = (request.uri().path() != "/forgets").then(|| permit.hold());
    if request.uri().path() == "/forbidden" {
        let response = Response::builder().status(StatusCode::FORBIDDEN).body(Empty::new());
        return Ok(response.expect("a response"));
    }
    let upgraded = upgrade::on(&mut request);
    tokio::spawn(async move {
        let _held: Option<HeldPermit> = held;
        if let Ok(connection) = upgraded.await {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(connection));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        }
    });
    Ok(Response::new(Empty::new()))
}

/// A connection to a server that offers extended CONNECT.
async fn connect(service: Admission<Tunnel>) -> SendRequest<Empty<Bytes>> {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(async move {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2().enable_connect_protocol();
        let service = TowerToHyperService::new(service);
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(server), service).await;
    });
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await;
    let (mut sender, driver) = handshake.expect("the server speaks HTTP/2");
    tokio::spawn(async { drop(driver.await) });
    // The settings of the server, which offer it, have come once a request was answered.
    let first = Request::options("http://here/forbidden").body(Empty::new()).expect("a request");
    let first = sender.send_request(first).await.expect("a response");
    assert_eq!(first.status(), StatusCode::FORBIDDEN);
    sender
}

type Pinned = Pin<Box<dyn Future<Output = Result<Response<Empty<Bytes>>, Infallible>> + Send>>;
type Tunnel = ServiceFn<fn(Request<Incoming>) -> Pinned>;

fn tunnels() -> Tunnel {
    service_fn(|request| Box::pin(tunnel(request)))
}

/// Opens a WebSocket, or a tunnel where `protocol` is `None`.
async fn open(
    sender: &mut SendRequest<Empty<Bytes>>,
    protocol: Option<&'static str>,
    path: &str,
) -> Response<Incoming> {
    sender.ready().await.expect("the connection is open");
    let uri = match protocol {
        Some(_) => format!("http://here{path}"),
        None => "here:443".to_owned(),
    };
    let mut request = Request::builder().method(Method::CONNECT).uri(uri);
    if let Some(protocol) = protocol {
        request = request.extension(Protocol::from_static(protocol));
    }
    let request = request.body(Empty::new()).expect("a request");
    sender.send_request(request).await.expect("a response")
}

async fn echoes(response: Response<Incoming>) -> TokioIo<Upgraded> {
    let mut socket = TokioIo::new(upgrade::on(response).await.expect("an upgrade"));
    socket.write_all(b"ping").await.expect("the stream is open");
    let mut echo = [0; 4];
    socket.read_exact(&mut echo).await.expect("it echoes");
    assert_eq!(&echo, b"ping");
    socket
}

/// Lets all tasks run until nothing is left to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn assert_two_at_once(
    service: Admission<Tunnel>,
    handle: &Handle,
    counts: impl Fn(&Handle) -> usize,
) {
    let mut sender = connect(service).await;
    let protocols = [Some("websocket"), None];
    for protocol in protocols {
        let first = echoes(open(&mut sender, protocol, "/").await).await;
        let second = echoes(open(&mut sender, protocol, "/").await).await;
        assert_eq!(counts(handle), 2, "{protocol:?}");
        let rejected = open(&mut sender, protocol, "/").await;
        assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE, "{protocol:?}");
        assert!(rejected.headers().contains_key("retry-after"));
        assert!(!rejected.into_body().collect().await.expect("a body").to_bytes().is_empty());
        drop(first);
        settle().await;
        assert_eq!(counts(handle), 1, "{protocol:?}");
        let third = echoes(open(&mut sender, protocol, "/").await).await;
        drop((second, third));
        settle().await;
        assert_eq!((counts(handle), handle.snapshot().in_flight), (0, 0), "{protocol:?}");
    }
    let forbidden = open(&mut sender, Some("websocket"), "/forbidden").await;
    assert_eq!(forbidden.status(), StatusCode::FORBIDDEN);
    let open = echoes(open(&mut sender, Some("websocket"), "/").await).await;
    // The whole connection goes away.
    drop((open, forbidden, sender));
    settle().await;
    assert_eq!((counts(handle), handle.snapshot().in_flight), (0, 0));
    handle.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_websocket_over_http_2_holds_its_permit_to_its_end_under_every_limit() {
    let in_flight = |handle: &Handle| handle.snapshot().in_flight;
    let bulkhead = BulkheadLayer::new("sockets", 2).expose_permit(true);
    let handle = bulkhead.handle().clone();
    assert_two_at_once(bulkhead.layer(tunnels()), &handle, in_flight).await;
    for layer in [AdmissionLayer::fixed("api", 2), AdmissionLayer::adaptive("api").max(2)] {
        let layer = layer.queue(QueueBounds::NONE).expose_permit(true);
        let handle = layer.handle().clone();
        assert_two_at_once(layer.layer(tunnels()), &handle, in_flight).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_websocket_over_http_2_takes_a_place_as_a_stream_to_its_end() {
    for layer in [AdmissionLayer::fixed("api", 1), AdmissionLayer::adaptive("api")] {
        let layer = layer.expose_permit(true).streams(StreamPolicy::Watch(2));
        let handle = layer.handle().clone();
        assert_two_at_once(layer.layer(tunnels()), &handle, Handle::streams).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_handler_does_not_hold_its_permit_ends_for_the_layer_with_its_head() {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE).expose_permit(true);
    let mut sender = connect(layer.layer(tunnels())).await;
    let mut tunnels = Vec::new();
    for _ in 0..10 {
        tunnels.push(echoes(open(&mut sender, Some("websocket"), "/forgets").await).await);
        settle().await;
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}
