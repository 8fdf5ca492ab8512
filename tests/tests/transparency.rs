//! The response to an admitted request is the same as without the layer.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_tests::client::{Connection, request};
use backpressure_tests::raw_http1::{exchange, header};
use backpressure_tests::scripted_body::ScriptedBody;
use backpressure_tests::server::{serve, wait_until_idle};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, PermitScope};

const PATHS: [&str; 11] = [
    "/text",
    "/empty",
    "/stream",
    "/sized",
    "/long",
    "/trailers",
    "/none",
    "/unmodified",
    "/failed",
    "/events",
    "/missing",
];
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

fn app() -> Router {
    let response = |status: StatusCode, script: fn() -> ScriptedBody| {
        get(move || async move {
            Response::builder().status(status).body(Body::new(script())).expect("a response")
        })
    };
    Router::new()
        .route("/text", get(async || "hello"))
        .route("/empty", get(async || ""))
        .route("/stream", response(StatusCode::OK, || ScriptedBody::pieces(3, 10)))
        .route("/sized", response(StatusCode::OK, || ScriptedBody::pieces(3, 10).sized()))
        .route("/long", response(StatusCode::OK, || ScriptedBody::pieces(1, 100_000).sized()))
        .route("/trailers", response(StatusCode::OK, || ScriptedBody::pieces(2, 10).trailers()))
        .route("/none", get(async || StatusCode::NO_CONTENT))
        .route("/unmodified", get(async || StatusCode::NOT_MODIFIED))
        .route("/failed", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "no")))
        .route("/events", get(async || ([("content-type", "text/event-stream")], "data: 1\n\n")))
}

/// A server without a layer, and one behind each kind of layer.
async fn servers() -> (SocketAddr, Vec<(SocketAddr, AdmissionLayer)>) {
    let layers = [
        AdmissionLayer::fixed("fixed", 4),
        AdmissionLayer::fixed("to the head", 4).scope(PermitScope::Head),
        AdmissionLayer::adaptive("adaptive"),
    ];
    let mut layered = Vec::new();
    for layer in layers {
        let app = app().layer(BulkheadLayer::new("inner", 4)).layer(layer.clone());
        layered.push((serve(app).await, layer));
    }
    (serve(app()).await, layered)
}

fn without_date(response: &str) -> String {
    let is_date = |line: &&str| line.to_lowercase().starts_with("date:");
    response.split_inclusive('\n').filter(|line| !is_date(line)).collect()
}

#[tokio::test]
async fn over_http_1_every_byte_is_the_same_with_and_without_the_layer() {
    let (bare, layered) = servers().await;
    for path in PATHS {
        for (method, version) in
            METHODS.iter().flat_map(|method| [(method, "1.0"), (method, "1.1")])
        {
            let request = format!(
                "{method} {path} HTTP/{version}\r\nhost: here\r\nte: trailers\r\nconnection: close\r\n\r\n"
            );
            let expected = without_date(&exchange(bare, &request).await);
            for (address, layer) in &layered {
                let response = without_date(&exchange(*address, &request).await);
                assert_eq!(response, expected, "{request} behind {layer:?}");
                wait_until_idle(layer).await;
            }
        }
    }
}

#[tokio::test]
async fn the_length_of_a_body_is_forwarded() {
    let (_, layered) = servers().await;
    for (address, _) in layered {
        let request = "GET /sized HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
        let response = exchange(address, request).await;
        assert_eq!(header(&response, "content-length"), Some("30"), "{response}");
        assert_eq!(header(&response, "transfer-encoding"), None, "{response}");
    }
}

/// All parts of a response except its date.
#[derive(Debug, PartialEq)]
struct Parts {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

async fn over_http_2(address: SocketAddr, method: &Method, path: &str) -> Parts {
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let response = connection.send(request(method.clone(), path)).await.expect("a response");
    let (mut head, body) = response.into_parts();
    head.headers.remove("date");
    let collected = body.collect().await.expect("a complete body");
    let trailers = collected.trailers().cloned();
    let body = collected.to_bytes().to_vec();
    Parts { status: head.status, headers: head.headers, body, trailers }
}

#[tokio::test]
async fn over_http_2_every_part_is_the_same_with_and_without_the_layer() {
    let (bare, layered) = servers().await;
    for (path, method) in
        PATHS.iter().flat_map(|path| METHODS.iter().map(move |method| (path, method)))
    {
        let expected = over_http_2(bare, method, path).await;
        for (address, layer) in &layered {
            let response = over_http_2(*address, method, path).await;
            assert_eq!(response, expected, "{method} {path} behind {layer:?}");
            wait_until_idle(layer).await;
        }
    }
    let trailers = over_http_2(bare, &Method::GET, "/trailers").await.trailers;
    assert!(
        trailers.is_some_and(|trailers| trailers["x-sum"] == "1"),
        "the comparison includes trailers"
    );
}
