//! Uploads that wait in the queue use up the window of their HTTP/2 connection, for a bounded time.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{Layer, service_fn};
use tower_backpressure::QueueLayer;
use tower_backpressure::{AdmissionLayer, QueueBounds, SHED_REASON};

/// Far longer than the bound and far shorter than the queue allows.
const HANG_TIMEOUT: Duration = Duration::from_secs(60);
/// More than the window of a connection, which is 1 MiB with hyper.
const UPLOAD: usize = 3 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

async fn read(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let read = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(Response::new(read.to_string().into()))
}

async fn connect(layer: &AdmissionLayer) -> SendRequest<ScriptedBody> {
    let (client, server) = tokio::io::duplex(PIECE);
    let service = TowerToHyperService::new(layer.layer(service_fn(read)));
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(server), service).await;
    });
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await;
    let (sender, driver) = handshake.expect("the server speaks HTTP/2");
    tokio::spawn(async { drop(driver.await) });
    sender
}

/// A body of which the length is announced, or only its end.
fn upload(is_sized: bool) -> Request<ScriptedBody> {
    let body = ScriptedBody::pieces(UPLOAD / PIECE, PIECE);
    let body = if is_sized { body.sized() } else { body };
    Request::post("http://here/").body(body).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn uploads_in_the_queue_do_not_keep_the_one_in_flight_from_its_window() {
    let bounds = QueueBounds::new(64, Duration::from_secs(3_600));
    let layers = [
        AdmissionLayer::fixed("api", 1).queue(bounds),
        AdmissionLayer::from(QueueLayer::new("jobs", 1, 64)).queue(bounds),
    ];
    for (layer, is_sized) in layers.into_iter().flat_map(|it| [(it.clone(), true), (it, false)]) {
        let layer = layer.request_body::<Incoming>();
        let sender = connect(&layer).await;
        let mut uploads = JoinSet::new();
        for _ in 0..16 {
            let mut sender = sender.clone();
            uploads.spawn(async move {
                sender.ready().await.expect("the connection is open");
                sender.send_request(upload(is_sized)).await.expect("a response")
            });
        }
        let responses = timeout(HANG_TIMEOUT, uploads.join_all()).await.expect("bounded");
        let mut served = 0;
        for response in responses {
            if response.status() == StatusCode::OK {
                let read = response.into_body().collect().await.expect("a body").to_bytes();
                assert_eq!(read, UPLOAD.to_string());
                served += 1;
            } else {
                assert_eq!(response.headers()[SHED_REASON], "deadline");
            }
        }
        assert!(served >= 1, "the one in flight goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_body_waits_for_as_long_as_the_queue_allows() {
    let layer = AdmissionLayer::fixed("jobs", 1).queue(QueueBounds::new(64, HANG_TIMEOUT));
    let layer = layer.request_body::<Incoming>();
    let permit = layer.limiter().try_acquire().expect("a free permit");
    let mut sender = connect(&layer).await;
    let request = Request::post("http://here/").body(ScriptedBody::default().sized());
    let waiting = tokio::spawn(sender.send_request(request.expect("a request")));
    tokio::time::sleep(HANG_TIMEOUT / 2).await;
    drop(permit);
    let response = waiting.await.expect("no panic").expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
}
