//! gRPC-Web calls through tonic-web: a rejection has the form of the call, on either side of the translation.

use std::collections::HashMap;
use std::net::SocketAddr;

use backpressure_tests::client::{Connection, request};
use backpressure_tests::server::listen;
use bytes::{Buf, Bytes};
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_web::GrpcWebLayer;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds};

/// A message without fields, which is what the health service is asked with.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];
/// The same in base64.
const EMPTY_MESSAGE_TEXT: &str = "AAAAAAA=";
const FLAG_OF_TRAILERS: u8 = 0x80;
const PATH: &str = "/grpc.health.v1.Health/Check";

/// A server whose layer stands outside or inside the translation.
async fn serve(admission: AdmissionLayer, is_outside: bool) -> SocketAddr {
    let (listener, address) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::from(listener);
    let server = Server::builder().accept_http1(true);
    if is_outside {
        let mut server = server.layer(admission).layer(GrpcWebLayer::new());
        tokio::spawn(server.add_service(health).serve_with_incoming(incoming));
    } else {
        let mut server = server.layer(GrpcWebLayer::new()).layer(admission);
        tokio::spawn(server.add_service(health).serve_with_incoming(incoming));
    }
    address
}

/// What a call says of itself and of the response it wants.
fn call(kind: &'static str) -> Request<Full<Bytes>> {
    let mut call = request(Method::POST, PATH);
    let is_text = kind.contains("-text");
    *call.body_mut() = match is_text {
        true => EMPTY_MESSAGE_TEXT.into(),
        false => Bytes::from_static(&EMPTY_MESSAGE).into(),
    };
    call.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    call.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(kind));
    call
}

/// The status of a response as a gRPC-Web client finds it: in the head where there is no message, otherwise in the
/// last frame.
async fn trailers(response: Response<Incoming>) -> HashMap<String, String> {
    let (head, body) = response.into_parts();
    assert_eq!(head.status, 200);
    let kind = head.headers[header::CONTENT_TYPE].to_str().expect("text").to_owned();
    let mut body = body.collect().await.expect("a complete body").to_bytes();
    if kind.contains("-text") {
        body = decode(&body);
    }
    let mut trailers = HashMap::new();
    for (name, value) in &head.headers {
        trailers.insert(name.to_string(), value.to_str().expect("text").to_owned());
    }
    while body.has_remaining() {
        let (flag, length) = (body.get_u8(), body.get_u32());
        let frame = body.split_to(length.try_into().expect("a short frame"));
        if flag == FLAG_OF_TRAILERS {
            let lines = String::from_utf8(frame.to_vec()).expect("text");
            for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
                let (name, value) = line.split_once(':').expect("a field");
                trailers.insert(name.to_owned(), value.trim().to_owned());
            }
        }
    }
    trailers
}

/// RFC 4648, of pieces that are padded one by one.
fn decode(text: &[u8]) -> Bytes {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        let digits = four.iter().filter_map(|digit| ALPHABET.iter().position(|it| it == digit));
        let digits: Vec<usize> = digits.collect();
        let bits =
            digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        let three = u32::try_from(bits).expect("24 bits").to_be_bytes();
        bytes.extend_from_slice(&three[1..digits.len()]);
    }
    bytes.into()
}

const KINDS: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

#[tokio::test]
async fn a_grpc_web_call_is_rejected_with_a_status_that_its_client_reads_on_either_side() {
    for (is_outside, version) in
        [(true, Version::HTTP_11), (true, Version::HTTP_2), (false, Version::HTTP_11)]
    {
        let admission = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
        let mut client =
            Connection::open(serve(admission.clone(), is_outside).await, version).await;
        for kind in KINDS {
            let served = client.send(call(kind)).await.expect("a response");
            assert_eq!(trailers(served).await["grpc-status"], "0", "{kind}");
            admission.handle().drained().await;
            let _permit = admission.limiter().try_acquire().expect("a free permit");
            let rejected =
                client.send(call(kind)).await.expect("a response on the same connection");
            let said = trailers(rejected).await;
            assert_eq!(said["grpc-status"], "14", "{kind}: {said:?}");
            assert!(said["grpc-retry-pushback-ms"].parse::<u32>().is_ok_and(|it| it >= 1_000));
            assert!(said["content-type"].starts_with("application/grpc-web"), "{said:?}");
            assert!(said.contains_key("grpc-status-details-bin"), "{kind}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_grpc_web_rejection_below_an_admitted_layer_does_not_invite_a_repetition() {
    let outer = AdmissionLayer::fixed("outer", 8).queue(QueueBounds::NONE);
    let inner = BulkheadLayer::new("inner", 1);
    let (listener, address) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let mut server = Server::builder()
        .accept_http1(true)
        .layer(outer)
        .layer(inner.clone())
        .layer(GrpcWebLayer::new());
    let server = server.add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut client = Connection::open(address, Version::HTTP_11).await;
    let _permit = inner.limiter().try_acquire().expect("a free permit");
    for kind in KINDS {
        let rejected = client.send(call(kind)).await.expect("a response");
        let said = trailers(rejected).await;
        assert_eq!(said["grpc-status"], "14", "{kind}: {said:?}");
        for proof in ["x-shed-reason", "grpc-retry-pushback-ms", "grpc-status-details-bin"] {
            assert!(!said.contains_key(proof), "{kind}: {said:?}");
        }
        assert!(said.contains_key("retry-after"), "{kind}: {said:?}");
    }
}
