//! An upgraded connection of HTTP/1 holds a permit, or a place as a stream.

use std::convert::Infallible;

use backpressure_tests::server::serve_each;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::upgrade;
use tokio::time::timeout;
use tower::service_fn;
use tower_backpressure::{BulkheadLayer, HeldPermit, StreamPolicy};

use super::{SECOND, permit_of};

/// A WebSocket in all that matters here: echoes bytes on the upgraded connection until it is closed.
async fn upgrades(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let held = permit_of(&request).hold();
    let upgraded = upgrade::on(&mut request);
    tokio::spawn(async move {
        let _held: HeldPermit = held;
        if let Ok(connection) = upgraded.await {
            let io = hyper_util::rt::TokioIo::new(connection);
            let (mut reader, mut writer) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo");
    Ok(response.body(Empty::new()).expect("a response"))
}

#[tokio::test]
async fn an_upgraded_connection_holds_its_permit_or_its_place_as_a_stream_to_its_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits = [
        BulkheadLayer::new("sockets", 2).expose_permit(true),
        BulkheadLayer::new("sockets", 9).expose_permit(true).streams(StreamPolicy::Watch(2)),
    ];
    for layer in limits {
        let address = serve_each(layer.clone(), service_fn(upgrades)).await;
        let upgrade = async || {
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let head =
                "GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
            socket.write_all(head.as_bytes()).await.expect("the server reads");
            let head = backpressure_tests::raw_http1::read_head(&mut socket).await;
            (socket, head)
        };
        let (mut first, head) = upgrade().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let (second, head) = upgrade().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let (rejected, head) = upgrade().await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        first.write_all(b"ping").await.expect("the connection is open");
        let mut echo = [0; 4];
        first.read_exact(&mut echo).await.expect("it echoes");
        assert_eq!(&echo, b"ping");
        drop(first);
        // The server sees the end of the connection when it reads.
        let third = async {
            loop {
                let (socket, head) = upgrade().await;
                if head.starts_with("HTTP/1.1 101") {
                    return socket;
                }
                tokio::task::yield_now().await;
            }
        };
        let third = timeout(30 * SECOND, third).await.expect("a place is free again");
        drop((second, rejected, third));
        timeout(30 * SECOND, layer.handle().drained()).await.expect("all have ended");
    }
}
