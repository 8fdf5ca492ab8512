//! The dashboard: what it says is what the layers do, and nothing acts without leave.
//!
//! The tests in a browser are ignored by default because they need chromium, node and two npm packages; `.ci/run`
//! installs them and runs the tests.

mod actions;
mod browser;
mod data;
mod events;
mod page;
mod storm;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tower::ServiceExt;

/// A dashboard shows all layers of the process. Tests that make very many of them or drain one run alone, and those
/// of rates, as the clocks of two tests differ.
static OTHERS: RwLock<()> = RwLock::const_new(());

async fn with_others() -> RwLockReadGuard<'static, ()> {
    OTHERS.read().await
}

async fn alone() -> RwLockWriteGuard<'static, ()> {
    OTHERS.write().await
}

/// The response of a dashboard to a GET.
async fn get(dashboard: &Router, path: &str) -> Response<Body> {
    send(dashboard, Request::get(path).body(Body::empty()).expect("a valid request")).await
}

async fn send(dashboard: &Router, request: Request<Body>) -> Response<Body> {
    dashboard.clone().oneshot(request).await.expect("infallible")
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

async fn json(dashboard: &Router, path: &str) -> Value {
    serde_json::from_str(&text(get(dashboard, path).await).await).expect("JSON")
}

/// The policy of this name in a state.
fn policy<'a>(state: &'a Value, name: &str) -> &'a Value {
    let policies = state["policies"].as_array().expect("a list");
    policies.iter().find(|policy| policy["name"] == name).expect("the policy is shown")
}
