//! Requests of tenants to a service behind a quota.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::server::{ByHeader, QuotaLayer, Reservation};

pub(crate) const BY_KEY: ByHeader = ByHeader::new(HeaderName::from_static("x-api-key"));

pub(crate) fn request(key: &str) -> Request<String> {
    Request::builder().header("x-api-key", key).body(String::new()).expect("a request")
}

/// Sends a request of this key through the layer to a service that answers at once.
pub(crate) async fn send<L, B>(layer: &L, request: Request<String>) -> Response<B>
where
    L: Layer<Done>,
    L::Service: Service<Request<String>, Response = Response<B>, Error = Infallible>,
{
    layer.layer(Done).oneshot(request).await.expect("no error")
}

/// How many of this many requests, sent one after the other, were served.
pub(crate) async fn served<L, B>(layer: &L, key: &str, count: usize) -> usize
where
    L: Layer<Done>,
    L::Service: Service<Request<String>, Response = Response<B>, Error = Infallible>,
{
    let mut served = 0;
    for _ in 0..count {
        served += usize::from(send(layer, request(key)).await.status() == StatusCode::OK);
    }
    served
}

/// A service that answers at once.
#[derive(Clone, Debug)]
pub(crate) struct Done;

impl Service<Request<String>> for Done {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<String>) -> Self::Future {
        std::future::ready(Ok(Response::new("done".into())))
    }
}

/// A service that needs this long.
pub(crate) fn slow(
    time: Duration,
) -> impl Service<Request<String>, Response = Response<String>, Error = Infallible, Future: Send> + Clone
{
    service_fn(move |_| async move {
        tokio::time::sleep(time).await;
        Ok(Response::new("done".into()))
    })
}

pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

pub(crate) fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// The reservation of a request of the key `a` that was served.
pub(crate) async fn reservation_of_a(layer: &QuotaLayer) -> Reservation {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let service = layer.layer(service_fn(move |request: Request<String>| {
        let reservation = request.extensions().get::<Reservation>().expect("exposed").clone();
        sender.send(reservation).expect("the test listens");
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    drop(service.oneshot(request("a")).await);
    receiver.recv().await.expect("one")
}
