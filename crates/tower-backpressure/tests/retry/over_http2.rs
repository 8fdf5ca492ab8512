//! What an HTTP/2 peer says about requests that it did not process.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};
use tower_backpressure::{Attempts, Retry, RetryLayer};

fn client() -> Retry<Client<HttpConnector, Full<Bytes>>> {
    let hyper = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    RetryLayer::new().layer(hyper)
}

fn post(listener: &TcpListener) -> Request<Full<Bytes>> {
    let url = format!("http://{}/", listener.local_addr().unwrap());
    Request::post(url).body(Full::from("an order")).unwrap()
}

/// Resets the first streams of a connection for this reason, and responds to the others. Returns the
/// number of streams when the connection ends.
async fn serve(stream: TcpStream, resets: usize, reason: Reason) -> usize {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut streams = 0;
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        streams += 1;
        match streams <= resets {
            true => respond.send_reset(reason),
            false => drop(respond.send_response(Response::new(()), true).unwrap()),
        }
    }
    streams
}

#[tokio::test]
async fn a_post_whose_stream_was_refused_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let post = post(&listener);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, 2, Reason::REFUSED_STREAM).await
    });
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(3));
}

#[tokio::test]
async fn a_post_whose_stream_was_reset_for_another_reason_is_sent_once() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let post = post(&listener);
        let streams = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, 9, reason).await
        });
        assert!(client().oneshot(post).await.is_err(), "{reason:?}");
        assert_eq!(streams.await.unwrap(), 1, "{reason:?}");
    }
}

#[tokio::test]
async fn a_post_above_the_last_stream_of_a_goaway_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let post = post(&listener);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Reads the request, and answers with SETTINGS and a GOAWAY whose last stream is 0.
        let mut request = [0; 1_024];
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        stream.write_all(&goaway).await.unwrap();
        let (next, _) = listener.accept().await.unwrap();
        serve(next, 0, Reason::NO_ERROR).await
    });
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
}
