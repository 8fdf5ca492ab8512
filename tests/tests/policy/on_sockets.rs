//! Policies around an axum router, on loopback.

use std::time::Duration;

use axum::Router;
use axum::extract::MatchedPath;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt};
use tower_backpressure::policy::{PolicyLoader, PolicySet};

const FILE: &str = r#"
    [admission.api]
    limit = 100
    [bulkhead.uploads]
    limit = 1
    [[policy]]
    name = "uploads"
    match = { path = "/uploads/{id}", method = "POST" }
    admission = "api"
    bulkhead = "uploads"
    [default]
    admission = "api"
    [client.self]
    retry = { max_attempts = 1 }
"#;

/// A router whose uploads never end; its address.
async fn serve(policies: PolicySet) -> String {
    let app = Router::new()
        .route("/uploads/{id}", post(std::future::pending::<()>))
        .route("/", get(|| async { "hello" }))
        .layer(policies);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_upload_is_answered_and_a_reload_takes_effect_on_connections_that_exist() {
    let policies = PolicyLoader::new()
        .matched_path(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str))
        .admission(|_, layer| layer.request_body::<axum::body::Body>())
        .parse(FILE)
        .expect("a good file");
    let address = serve(policies.clone()).await;
    let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build();
    let client = policies.client("self").expect("the client").layer(reqwest.expect("a client"));
    let upload = || {
        let request = reqwest::Request::new(
            reqwest::Method::POST,
            format!("{address}/uploads/7").parse().expect("an address"),
        );
        let mut request = request;
        *request.body_mut() = Some(vec![0_u8; 10_000_000].into());
        client.clone().oneshot(request)
    };
    let hanging = tokio::spawn(upload());
    let handle = tower_backpressure::Handle::named("uploads").expect("the layer");
    while handle.snapshot().in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..20 {
        let response = upload().await.expect("the rejection arrives");
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    let mut client = client.clone();
    let mut hello = async || {
        let url = format!("{address}/").parse().expect("an address");
        let request = reqwest::Request::new(reqwest::Method::GET, url);
        let client = client.ready().await.expect("ready");
        client.call(request).await.expect("a response").status()
    };
    assert_eq!(hello().await, 200);
    let stopped = FILE.replace(
        "[default]\n    admission = \"api\"",
        "[quota.none]\nwindow = [{ rate = \"1/h\" }]\n[default]\nquota = \"none\"",
    );
    policies.replace(&stopped).expect("a good file");
    assert_eq!(hello().await, 200);
    assert_eq!(hello().await, 429);
    hanging.abort();
}
