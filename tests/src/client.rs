//! Client connections that stay open, over HTTP/1 and HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// One connection; dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    sender: Sender,
    driver: JoinHandle<()>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects to a server.
    ///
    /// # Panics
    /// When no server listens at this address.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        socket.set_nodelay(true).expect("the socket is connected");
        let io = TokioIo::new(socket);
        let (sender, driver) = if version == Version::HTTP_2 {
            let (sender, driver) =
                http2::handshake(TokioExecutor::new(), io).await.expect("the server speaks HTTP/2");
            (Sender::Http2(sender), tokio::spawn(async { drop(driver.await) }))
        } else {
            let (sender, driver) = http1::handshake(io).await.expect("a handshake sends nothing");
            (Sender::Http1(sender), tokio::spawn(async { drop(driver.with_upgrades().await) }))
        };
        Self { address, sender, driver }
    }

    /// Whether the connection takes another request.
    pub async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and returns when the head of the response has arrived.
    ///
    /// # Errors
    /// When the connection breaks or the server aborts the request.
    pub async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> hyper::Result<IncomingResponse> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                let host =
                    self.address.to_string().try_into().expect("an address is a header value");
                request.headers_mut().insert(http::header::HOST, host);
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                let uri = format!("http://{}{}", self.address, request.uri());
                *request.uri_mut() = uri.parse().expect("an address and a path are a URI");
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// When the connection breaks or the server aborts the request.
    pub async fn get(&mut self, path: &str) -> hyper::Result<IncomingResponse> {
        self.send(request(Method::GET, path)).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A response whose body is still being received.
pub type IncomingResponse = Response<Incoming>;

/// A request without a body.
///
/// # Panics
/// When `path` is not a valid URI.
#[must_use]
pub fn request(method: Method, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    request.body(Full::default()).expect("a valid method and path")
}

/// Reads the whole body of a response as text.
///
/// # Panics
/// When the body ends with an error.
pub async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.expect("a complete body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}
