//! Connections that are kept open, over HTTP/1 and HTTP/2.

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
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let socket = TcpStream::connect(address).await.expect("somebody listens");
        socket.set_nodelay(true).expect("a connected socket");
        let io = TokioIo::new(socket);
        let (sender, driver) = if version == Version::HTTP_2 {
            let (sender, driver) =
                http2::handshake(TokioExecutor::new(), io).await.expect("a preface");
            (Sender::Http2(sender), tokio::spawn(async { drop(driver.await) }))
        } else {
            let (sender, driver) = http1::handshake(io).await.expect("nothing is sent yet");
            (Sender::Http1(sender), tokio::spawn(async { drop(driver.with_upgrades().await) }))
        };
        Self { address, sender, driver }
    }

    /// Whether it takes another request.
    pub async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request; the answer is there as soon as its head is.
    ///
    /// # Errors
    /// When the connection breaks, or the server gives this request up.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                let host = self.address.to_string().try_into().expect("an address is a value");
                request.headers_mut().insert(http::header::HOST, host);
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                let uri = format!("http://{}{}", self.address, request.uri());
                *request.uri_mut() = uri.parse().expect("a path follows an address");
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// When the connection breaks, or the server gives this request up.
    pub async fn get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.send(request(Method::GET, path)).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer with its body still to come.
pub type Answer = Response<Incoming>;

/// A request without a body.
///
/// # Panics
/// When `path` is none.
#[must_use]
pub fn request(method: Method, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    request.body(Full::default()).expect("a method and a path")
}

/// The whole body.
///
/// # Panics
/// When it breaks off.
pub async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}
