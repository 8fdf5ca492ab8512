//! The layer over a tonic channel.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tower::{Service, ServiceBuilder};
use tower_backpressure::client::Buffered;
use tower_backpressure::{AdmissionLayer, ClientStack, QueueBounds, Retry, RetryLayer};

/// Messages are bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// Rejects the first calls with this pushback, as a server of this crate does, and echoes the message of the others after a time.
#[derive(Clone, Debug)]
struct Echo {
    rejections: u32,
    pushback: &'static str,
    takes: Duration,
    calls: Arc<AtomicU32>,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        struct EchoMessage;

        impl UnaryService<Bytes> for EchoMessage {
            type Response = Bytes;
            type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

            fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
                ready(Ok(tonic::Response::new(request.into_inner())))
            }
        }

        let count = self.calls.fetch_add(1, SeqCst);
        let Self { rejections, pushback, takes, .. } = *self;
        Box::pin(async move {
            if count < rejections {
                let mut rejection = Status::new(Code::Unavailable, "overloaded").into_http();
                rejection.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
                rejection.headers_mut().insert("x-shed-reason", "limit".parse().unwrap());
                return Ok(rejection);
            }
            sleep(takes).await;
            Ok(tonic::server::Grpc::new(Raw).unary(EchoMessage, request).await)
        })
    }
}

fn echo(rejections: u32, pushback: &'static str) -> Echo {
    Echo { rejections, pushback, takes: Duration::ZERO, calls: Arc::default() }
}

async fn serve(echo: Echo) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    let server = Server::builder().add_service(echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    endpoint.connect_lazy()
}

fn endpoint(address: std::net::SocketAddr) -> Endpoint {
    Endpoint::try_from(format!("http://{address}")).unwrap()
}

type Wrap = fn(tower_backpressure::client::ReplayBody<Body>) -> Body;

fn retrying(channel: Channel) -> Retry<Channel, Buffered<Wrap>> {
    let layer = RetryLayer::new()
        .error_type::<tonic::transport::Error>()
        .buffer_bodies(1_024, Body::new as Wrap);
    ServiceBuilder::new().layer(layer).service(channel)
}

async fn call<S>(service: S, message: &'static [u8]) -> Result<Bytes, Status>
where
    S: tonic::client::GrpcService<Body>,
    S::ResponseBody: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let mut client = Grpc::new(service);
    client.ready().await.map_err(|_| Status::internal("not ready"))?;
    let path = PathAndQuery::from_static("/test.Echo/Echo");
    let request = tonic::Request::new(Bytes::from_static(message));
    client.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_rejected_call_is_sent_again_after_its_pushback_with_its_message() {
    let echo = echo(1, "300");
    let start = Instant::now();
    let channel = serve(echo.clone()).await;
    let answer = call(retrying(channel), b"an order").await.unwrap();
    assert_eq!(answer, "an order");
    assert_eq!(echo.calls.load(SeqCst), 2);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_negative_pushback_is_the_end_of_a_call() {
    let echo = echo(9, "-1");
    let status = call(retrying(serve(echo.clone()).await), b"an order").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(echo.calls.load(SeqCst), 1);
}

#[tokio::test]
async fn a_call_survives_the_restart_of_its_server() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let channel = endpoint(socket.local_addr().unwrap()).connect_lazy();
    let calling = tokio::spawn(call(retrying(channel), b"an order"));
    sleep(Duration::from_millis(900)).await;
    let server = Server::builder().add_service(echo(0, ""));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(socket.listen(16).unwrap())));
    assert_eq!(calling.await.unwrap().unwrap(), "an order");
}

#[tokio::test]
async fn a_call_that_the_admission_layer_rejects_is_served_when_there_is_room() {
    let slow = Echo { takes: Duration::from_millis(400), ..echo(0, "") };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = endpoint(listener.local_addr().unwrap()).connect_lazy();
    let admission = AdmissionLayer::fixed("echo", 1).queue(QueueBounds::NONE);
    let server = Server::builder().layer(admission).add_service(slow.clone());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let (one, other) =
        tokio::join!(call(retrying(channel.clone()), b"one"), call(retrying(channel), b"other"));
    assert_eq!((one.unwrap(), other.unwrap()), ("one".into(), "other".into()));
    assert_eq!(slow.calls.load(SeqCst), 2, "the rejected call was not begun");
}

#[tokio::test]
async fn all_client_layers_go_over_a_tonic_channel() {
    let echo = echo(1, "300");
    let layer = RetryLayer::new()
        .error_type::<tonic::transport::Error>()
        .buffer_bodies(1_024, Body::new as Wrap);
    let stack = ClientStack::new("echo").retry(layer);
    let client = ServiceBuilder::new().layer(stack).service(serve(echo.clone()).await);
    let start = Instant::now();
    assert_eq!(call(client.clone(), b"an order").await.unwrap(), "an order");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(call(client, b"another").await.unwrap(), "another");
    assert_eq!(echo.calls.load(SeqCst), 3);
}
