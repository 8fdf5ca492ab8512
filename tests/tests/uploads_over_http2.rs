//! Uploads that wait in the queue use up the window of their HTTP/2 connection, for a bounded time.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::server::serve_each;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::service_fn;
use tower_backpressure::server::QueueLayer;
use tower_backpressure::{AdmissionLayer, QueueBounds, SHED_REASON};

/// Far longer than the bound and far shorter than the queue allows.
const HANG_TIMEOUT: Duration = Duration::from_secs(60);
/// More than the window of a connection, which is 1 MiB with hyper.
const UPLOAD: usize = 3 * 1024 * 1024;

async fn read(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let read = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(Response::new(read.to_string().into()))
}

#[tokio::test]
async fn uploads_in_the_queue_do_not_keep_the_one_in_flight_from_its_window() {
    let bounds = QueueBounds::new(64, Duration::from_secs(3_600));
    let layers = [
        AdmissionLayer::fixed("api", 1).queue(bounds),
        QueueLayer::new("jobs", 1, 64).into_admission().queue(bounds),
    ];
    for layer in layers {
        let layer = layer.request_body::<Incoming>();
        let address = serve_each(layer.clone(), service_fn(read)).await;
        let socket = TcpStream::connect(address).await.expect("the server listens");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
        let (sender, driver) = handshake.expect("the server speaks HTTP/2");
        tokio::spawn(async { drop(driver.await) });
        let mut uploads = JoinSet::new();
        for _ in 0..16 {
            let (mut sender, body) = (sender.clone(), Full::new(Bytes::from(vec![0; UPLOAD])));
            let request = Request::post(format!("http://{address}/")).body(body);
            uploads.spawn(async move {
                sender.ready().await.expect("the connection is open");
                sender.send_request(request.expect("a request")).await.expect("a response")
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
