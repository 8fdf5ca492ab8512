//! All layers from a file beside this one, which is watched: change a number in it while the example runs.
//!
//! ```sh
//! cargo run --example policy_file
//! cargo run --release -- policy check examples/examples/policy_file.toml --path /reports/2026 --tenant batch
//! ```

use std::time::Duration;

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::request::Parts;
use axum::routing::get;
use tower_backpressure::policy::PolicyLoader;
use tower_backpressure::{RequestInfo, RequestInfoLayer, Tenant};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy_file.toml");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policies = PolicyLoader::new()
        .matched_path(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str))
        .admission(|_, layer| layer.request_body::<axum::body::Body>())
        .audit(|event| println!("{event}"))
        .load(FILE)?;
    let _watch = policies.watch();

    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/healthz", get(async || "well\n"))
        .route("/reports/{year}", get(report))
        .layer(policies)
        .layer(RequestInfoLayer::from_headers().base(tenant)); // outermost: says whose request it is

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// A real service verifies the key.
fn tenant(head: &Parts) -> RequestInfo {
    let key = head.headers.get("x-api-key").and_then(|key| key.to_str().ok());
    key.map_or_else(RequestInfo::default, |key| RequestInfo::default().tenant(Tenant::new(key)))
}

async fn report() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "a report\n"
}

// cargo run -p backpressure-examples --example policy_file
//
// $ curl -si -H 'x-api-key: batch' localhost:3000/reports/2026
//
// prints: HTTP/1.1 200 OK
