//! Requests that wait in the queue, or are rejected, while their HTTP/1 connection has more to say: in virtual time.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};
use tower::{Layer, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds, QueueLayer};

const SECOND: Duration = Duration::from_secs(1);
const UPLOAD_BYTES: usize = 200_000;
/// What a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

async fn read(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let read = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(Response::new(read.to_string().into()))
}

/// The client's end of a connection to a server with this layer and one inside.
fn connect(layer: &AdmissionLayer) -> DuplexStream {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let inner = BulkheadLayer::new("inner", 100).layer(service_fn(read));
    let service = TowerToHyperService::new(layer.clone().request_body::<Incoming>().layer(inner));
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(server), service).await;
    });
    client
}

/// What the server has sent within a second in which nothing else happens.
async fn said(client: &mut DuplexStream) -> String {
    let mut said = Vec::new();
    let _ = timeout(SECOND, client.read_to_end(&mut said)).await;
    String::from_utf8(said).expect("text")
}

async fn wait_for_queued(layer: &AdmissionLayer, count: usize) {
    while layer.snapshot().queued != count {
        sleep(Duration::from_millis(1)).await;
    }
}

fn layers() -> [AdmissionLayer; 2] {
    let bounds = QueueBounds::new(64, 60 * SECOND);
    [
        AdmissionLayer::fixed("fixed", 1).queue(bounds),
        AdmissionLayer::from(QueueLayer::new("jobs", 1, 64)).queue(bounds),
    ]
}

fn upload_on_demand() -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: {UPLOAD_BYTES}\r\n\r\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_100_continue_is_asked_for_its_body_once_its_request_is_admitted() {
    for layer in layers() {
        let permit = layer.limiter().try_acquire().expect("a free permit");
        let mut client = connect(&layer);
        client.write_all(upload_on_demand().as_bytes()).await.expect("an open connection");
        wait_for_queued(&layer, 1).await;
        assert_eq!(said(&mut client).await, "", "nothing is asked for while it waits");
        drop(permit);
        assert_eq!(said(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(&vec![b'x'; UPLOAD_BYTES]).await.expect("the server reads");
        let response = said(&mut client).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(response.ends_with(&UPLOAD_BYTES.to_string()), "{response}");
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_100_continue_and_has_waited_in_vain_sends_no_body() {
    for layer in layers() {
        let _permit = layer.limiter().try_acquire().expect("a free permit");
        let mut client = connect(&layer);
        client.write_all(upload_on_demand().as_bytes()).await.expect("an open connection");
        wait_for_queued(&layer, 1).await;
        layer.handle().stop();
        let mut response = String::new();
        client.read_to_string(&mut response).await.expect("the server closes the connection");
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
        assert!(response.to_lowercase().contains("connection: close"), "{response}");
        assert!(!response.contains("100 Continue"), "{response}");
        assert_eq!(layer.snapshot().queued, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_pipelined_behind_one_in_the_queue_are_answered_in_order() {
    for layer in layers() {
        let permit = layer.limiter().try_acquire().expect("a free permit");
        let mut client = connect(&layer);
        let post = |length: usize| {
            let body = "x".repeat(length);
            format!("POST / HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n{body}")
        };
        let all: String = (1..=5).map(post).collect();
        client.write_all(all.as_bytes()).await.expect("an open connection");
        // One connection of HTTP/1 has one request at a time.
        wait_for_queued(&layer, 1).await;
        layer.handle().stop();
        let rejected = said(&mut client).await;
        assert!(rejected.starts_with("HTTP/1.1 503 "), "{rejected}");
        // A stop closes the connection, and with it all that was pipelined.
        assert_eq!(rejected.matches("HTTP/1.1 ").count(), 1, "{rejected}");
        layer.handle().resume();

        let mut client = connect(&layer);
        client.write_all(all.as_bytes()).await.expect("an open connection");
        wait_for_queued(&layer, 1).await;
        drop(permit);
        let served = said(&mut client).await;
        let bodies: Vec<_> =
            served.split("HTTP/1.1 ").skip(1).map(|it| &it[it.len() - 1..]).collect();
        assert_eq!(bodies, ["1", "2", "3", "4", "5"], "{served}");
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_rejected_one_by_one_on_a_connection_that_stays() {
    for layer in layers() {
        let layer = layer.queue(QueueBounds::NONE);
        let permit = layer.limiter().try_acquire().expect("a free permit");
        let mut client = connect(&layer);
        let requests = "POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\n\r\nabc".repeat(20)
            + &"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n".repeat(20)
            + &"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n".repeat(20);
        client.write_all(requests.as_bytes()).await.expect("an open connection");
        let rejected = said(&mut client).await;
        assert_eq!(rejected.matches("HTTP/1.1 503 ").count(), 60, "{rejected}");
        assert!(!rejected.to_lowercase().contains("connection: close"), "{rejected}");
        drop(permit);
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.expect("it is open");
        let served = said(&mut client).await;
        assert!(served.starts_with("HTTP/1.1 200 "), "{served}");
    }
}
