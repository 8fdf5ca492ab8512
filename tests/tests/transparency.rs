//! What is admitted comes back as if the layer were not there.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_tests::client::{Connection, request};
use backpressure_tests::raw::{exchange, header};
use backpressure_tests::script::Script;
use backpressure_tests::server::{all_gone, serve};
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
    let answer = |status: StatusCode, script: fn() -> Script| {
        get(move || async move {
            Response::builder().status(status).body(Body::new(script())).expect("a response")
        })
    };
    Router::new()
        .route("/text", get(async || "hello"))
        .route("/empty", get(async || ""))
        .route("/stream", answer(StatusCode::OK, || Script::pieces(3, 10)))
        .route("/sized", answer(StatusCode::OK, || Script::pieces(3, 10).sized()))
        .route("/long", answer(StatusCode::OK, || Script::pieces(1, 100_000).sized()))
        .route("/trailers", answer(StatusCode::OK, || Script::pieces(2, 10).trailers()))
        .route("/none", get(async || StatusCode::NO_CONTENT))
        .route("/unmodified", get(async || StatusCode::NOT_MODIFIED))
        .route("/failed", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "no")))
        .route("/events", get(async || ([("content-type", "text/event-stream")], "data: 1\n\n")))
}

/// The bare service, and it behind each kind of layer.
async fn servers() -> (SocketAddr, Vec<(SocketAddr, AdmissionLayer)>) {
    let layers = [
        AdmissionLayer::fixed("fixed", 4),
        AdmissionLayer::fixed("to the head", 4).scope(PermitScope::Head),
        AdmissionLayer::adaptive("adaptive"),
    ];
    let mut behind = Vec::new();
    for layer in layers {
        let app = app().layer(BulkheadLayer::new("inner", 4)).layer(layer.clone());
        behind.push((serve(app).await, layer));
    }
    (serve(app()).await, behind)
}

fn without_date(answer: &str) -> String {
    let is_date = |line: &&str| line.to_lowercase().starts_with("date:");
    answer.split_inclusive('\n').filter(|line| !is_date(line)).collect()
}

#[tokio::test]
async fn over_http_1_every_byte_is_the_same_with_and_without_the_layer() {
    let (bare, behind) = servers().await;
    for path in PATHS {
        for (method, version) in
            METHODS.iter().flat_map(|method| [(method, "1.0"), (method, "1.1")])
        {
            let request = format!(
                "{method} {path} HTTP/{version}\r\nhost: here\r\nte: trailers\r\nconnection: close\r\n\r\n"
            );
            let expected = without_date(&exchange(bare, &request).await);
            for (address, layer) in &behind {
                let answer = without_date(&exchange(*address, &request).await);
                assert_eq!(answer, expected, "{request} behind {layer:?}");
                all_gone(layer).await;
            }
        }
    }
}

#[tokio::test]
async fn a_known_length_stays_known() {
    let (_, behind) = servers().await;
    for (address, _) in behind {
        let request = "GET /sized HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
        let answer = exchange(address, request).await;
        assert_eq!(header(&answer, "content-length"), Some("30"), "{answer}");
        assert_eq!(header(&answer, "transfer-encoding"), None, "{answer}");
    }
}

/// All of an answer but its date.
#[derive(Debug, PartialEq)]
struct Parts {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

async fn over_http_2(address: SocketAddr, method: &Method, path: &str) -> Parts {
    let mut connection = Connection::open(address, Version::HTTP_2).await;
    let answer = connection.send(request(method.clone(), path)).await.expect("an answer");
    let (mut head, body) = answer.into_parts();
    head.headers.remove("date");
    let whole = body.collect().await.expect("a whole body");
    let trailers = whole.trailers().cloned();
    let body = whole.to_bytes().to_vec();
    Parts { status: head.status, headers: head.headers, body, trailers }
}

#[tokio::test]
async fn over_http_2_every_part_is_the_same_with_and_without_the_layer() {
    let (bare, behind) = servers().await;
    for (path, method) in
        PATHS.iter().flat_map(|path| METHODS.iter().map(move |method| (path, method)))
    {
        let expected = over_http_2(bare, method, path).await;
        for (address, layer) in &behind {
            let answer = over_http_2(*address, method, path).await;
            assert_eq!(answer, expected, "{method} {path} behind {layer:?}");
            all_gone(layer).await;
        }
    }
    let trailers = over_http_2(bare, &Method::GET, "/trailers").await.trailers;
    assert!(trailers.is_some_and(|trailers| trailers["x-sum"] == "1"), "worth comparing");
}
