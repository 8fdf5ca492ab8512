//! HEAD requests over HTTP/1 and HTTP/2: a rejection of one breaks no connection, and each gives its permit back.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use backpressure_tests::client::{Connection, request, text};
use backpressure_tests::scripted_body::ScriptedBody;
use backpressure_tests::server::{serve, wait_until_idle};
use http::{Method, Response, StatusCode, Version, header};
use tokio::time::timeout;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds, SHED_REASON};

const HANG_TIMEOUT: Duration = Duration::from_secs(20);

/// A long body that is announced and not there, as file servers answer to HEAD; one of unknown length; and a short one.
fn app() -> Router {
    let announced = async || {
        let response = Response::builder().header(header::CONTENT_LENGTH, 1_000_000);
        response.body(Body::empty()).expect("a response")
    };
    let unknown = async || Response::new(Body::new(ScriptedBody::pieces(3, 10)));
    Router::new()
        .route("/announced", get(async || "a body").head(announced))
        .route("/unknown", get(unknown))
        .route("/", get(async || "a body"))
}

fn layers() -> [AdmissionLayer; 4] {
    [
        AdmissionLayer::fixed("fixed", 1).queue(QueueBounds::NONE),
        AdmissionLayer::adaptive("adaptive").max(1).queue(QueueBounds::NONE),
        BulkheadLayer::new("bulkhead", 1).into(),
        AdmissionLayer::fixed("rendered", 1)
            .queue(QueueBounds::NONE)
            .on_reject(|_, response| response.map(|_| "another text".into())),
    ]
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn a_rejected_head_request_has_the_head_of_a_rejection_and_leaves_the_connection_usable() {
    for layer in layers() {
        let address = serve(app().layer(layer.clone())).await;
        for version in VERSIONS {
            let mut connection = Connection::open(address, version).await;
            let permit = layer.limiter().try_acquire().expect("it is free");
            for _ in 0..3 {
                let response = connection.send(request(Method::HEAD, "/")).await;
                let response = response.expect("a head");
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{version:?}");
                assert!(response.headers().contains_key(SHED_REASON));
                assert!(response.headers().contains_key(header::RETRY_AFTER));
                assert_eq!(text(response).await, "", "{version:?}");
            }
            drop(permit);
            let response = connection.get("/").await.expect("the connection is usable");
            assert_eq!(text(response).await, "a body", "{version:?}");
            drop(connection);
            wait_until_idle(&layer).await;
        }
    }
}

#[tokio::test]
async fn the_permit_of_a_head_request_is_back_at_once_whatever_body_is_announced() {
    for layer in layers() {
        let address = serve(app().layer(layer.clone())).await;
        for version in VERSIONS {
            let mut connection = Connection::open(address, version).await;
            for path in ["/announced", "/unknown", "/"] {
                for _ in 0..3 {
                    let response = connection.send(request(Method::HEAD, path)).await;
                    let response = response.expect("a head");
                    assert_eq!(response.status(), StatusCode::OK, "{version:?} {path}");
                    timeout(HANG_TIMEOUT, wait_until_idle(&layer)).await.expect("it is back");
                    assert_eq!(text(response).await, "", "{version:?} {path}");
                }
            }
        }
    }
}
