//! Errors that prove that a request was not sent, or not processed.

use std::future::ready;
use std::io::{self, ErrorKind};

use http::{Method, Request, Response};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_backpressure::RetryLayer;

use crate::memory_server::{Arrivals, SECOND, ok, request};

/// The gaps between the attempts of a request that first gets these errors.
async fn gaps(method: Method, errors: Vec<BoxError>) -> Vec<std::time::Duration> {
    let arrivals = Arrivals::default();
    let recorder = arrivals.clone();
    let errors = std::sync::Arc::new(std::sync::Mutex::new(errors));
    let failing = service_fn(move |_: Request<()>| {
        recorder.record();
        ready(match errors.lock().unwrap().pop() {
            Some(error) => Err::<Response<String>, _>(error),
            None => Ok(ok()),
        })
    });
    let _ = RetryLayer::new().layer(failing).oneshot(request(method)).await;
    arrivals.gaps()
}

fn io(kind: ErrorKind) -> BoxError {
    io::Error::from(kind).into()
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_tried_again_with_any_method_for_longer_than_a_restart() {
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let refused = || vec![io(ErrorKind::ConnectionRefused), io(ErrorKind::ConnectionRefused)];
        let gaps = gaps(method.clone(), refused()).await;
        assert_eq!(gaps.len(), 2, "{method}");
        assert!(gaps[0].as_millis() >= 250 && gaps[1] >= SECOND, "{method}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_broke_is_tried_again_by_idempotent_requests_only() {
    for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::TimedOut] {
        assert_eq!(gaps(Method::GET, vec![io(kind)]).await.len(), 1, "{kind}");
        assert_eq!(gaps(Method::POST, vec![io(kind)]).await.len(), 0, "{kind}");
    }
}

#[cfg(feature = "hyper")]
mod over_sockets {
    use super::*;

    use std::net::SocketAddr;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::Full;
    use http_body_util::channel::Channel;
    use http_body_util::combinators::UnsyncBoxBody;
    use hyper_util::client::legacy::Client;
    use hyper_util::client::legacy::connect::{Connect, HttpConnector};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::{TcpListener, TcpSocket};
    use tower::BoxError;

    use tower_backpressure::Attempts;

    use crate::socket_server::SocketServer;

    fn client() -> tower_backpressure::Retry<Client<HttpConnector, Full<Bytes>>> {
        RetryLayer::new().layer(Client::builder(TokioExecutor::new()).build_http())
    }

    fn post(url: String) -> Request<Full<Bytes>> {
        Request::post(url).body(Full::from("an order")).unwrap()
    }

    #[tokio::test]
    async fn a_post_survives_the_restart_of_a_server() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let call = tokio::spawn(client().oneshot(post(url)));
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let server = SocketServer::on(socket.listen(16).unwrap());
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(server.bodies(), ["an order"]);
    }

    /// The number of retries of a request that fails in the client, and whether it failed at once.
    async fn retries<C>(connector: C, request: Request<Full<Bytes>>) -> (u32, bool)
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let hyper = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
        let start = tokio::time::Instant::now();
        let mut service = RetryLayer::new().layer(hyper);
        let mut call = std::pin::pin!(tower::Service::call(&mut service, request));
        assert!(call.as_mut().await.is_err());
        let attempts = call.gave_up().map_or(1, |why| why.attempts);
        (attempts - 1, start.elapsed().is_zero())
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_is_tried_again_where_the_resolver_fails_and_not_where_the_host_does_not_exist()
    {
        for (text, expected) in [
            ("failed to lookup address information: Temporary failure in name resolution", 2),
            ("the resolver does not respond", 2),
            ("failed to lookup address information: Name or service not known", 0),
        ] {
            let resolver = service_fn(move |_| {
                ready(Err::<std::vec::IntoIter<SocketAddr>, _>(io::Error::other(text)))
            });
            let connector = HttpConnector::new_with_resolver(resolver);
            let post = post("http://no-such-host.example/".into());
            let (retries, at_once) = retries(connector, post).await;
            assert_eq!((retries, at_once), (expected, expected == 0), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_that_is_not_accepted_is_not_tried_again_and_a_handshake_that_broke_is() {
        use rustls::{AlertDescription, CertificateError, Error};
        for (error, expected) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), 0),
            (Error::InvalidCertificate(CertificateError::Expired), 0),
            (Error::InvalidCertificate(CertificateError::NotValidForName), 0),
            (Error::AlertReceived(AlertDescription::CertificateRequired), 0),
            (Error::AlertReceived(AlertDescription::InternalError), 2),
        ] {
            // As tokio-rustls and hyper-rustls wrap it.
            let failure = error.clone();
            let connector = service_fn(move |_: http::Uri| {
                let of_handshake = io::Error::new(ErrorKind::InvalidData, failure.clone());
                ready(Err::<TokioIo<tokio::net::TcpStream>, _>(io::Error::other(of_handshake)))
            });
            let post = post("https://api.example/".into());
            assert_eq!(retries(connector, post).await, (expected, expected == 0), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_cannot_be_sent_anywhere_is_not_tried_again() {
        for uri in ["/path", "ftp://files.example/", "https://plain-connector.example/"] {
            let get = Request::get(uri).body(Full::default()).unwrap();
            assert_eq!(retries(HttpConnector::new(), get).await, (0, true), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_post_on_a_connection_that_closes_after_it_was_sent_is_sent_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let accepted = tokio::spawn(async move {
            let mut connections = 0;
            let accept = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    connections += 1;
                    let mut head = [0; 1_024];
                    let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(700), accept).await;
            connections
        });
        assert!(client().oneshot(post(url)).await.is_err());
        assert_eq!(accepted.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_response_after_a_refused_connection_has_the_number_of_attempts() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let call = tokio::spawn(client().oneshot(post(url)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _server = SocketServer::on(socket.listen(16).unwrap());
        let response = call.await.unwrap().unwrap();
        assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    }

    /// The body of a proxy whose own connection is refused after a part of the upload.
    fn failing_upload() -> UnsyncBoxBody<Bytes, BoxError> {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        tokio::spawn(async move {
            let _ = sender.send_data("half an order".into()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            sender.abort(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        });
        UnsyncBoxBody::new(body)
    }

    #[tokio::test]
    async fn an_upload_whose_own_source_refuses_a_connection_is_sent_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let accepted = tokio::spawn(async move {
            let mut connections = 0;
            let accept = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    connections += 1;
                    let mut sent = Vec::new();
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sent).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(900), accept).await;
            connections
        });
        let hyper = Client::builder(TokioExecutor::new()).build_http();
        let again =
            |request: &Request<_>| Request::post(request.uri().clone()).body(failing_upload()).ok();
        let client = RetryLayer::new().rebuild(again).layer(hyper);
        assert!(client.oneshot(Request::post(url).body(failing_upload()).unwrap()).await.is_err());
        assert_eq!(accepted.await.unwrap(), 1);
    }
}
