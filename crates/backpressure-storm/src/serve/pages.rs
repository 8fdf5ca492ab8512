//! The page with the controls, what it asks for, and the dashboard beside it.

use crate::serve::clients::{History, Point};
use crate::serve::controls::{Controls, Settings};
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use backpressure_dashboard::Dashboard;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

type Shared = (Arc<Controls>, History);

/// All routes. None of them is behind the layers of the service.
pub(crate) fn router(controls: Arc<Controls>, history: History) -> Router {
    let dashboard =
        Dashboard::new().title("storm serve").route("GET /work", ["shop", "database"]).router();
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/serve.js", get(|| file("text/javascript", include_str!("page.js"))))
        .route("/serve.css", get(|| file("text/css", include_str!("page.css"))))
        .route("/state", get(state))
        .route("/settings", get(settings).post(set))
        .layer(from_fn(headers))
        .with_state((controls, history))
        .nest_service("/backpressure", dashboard)
        .layer(from_fn(only_this_machine))
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// A page of another site cannot reach this one by a name of its own that leads to loopback, nor send settings.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let fields = request.headers();
    let is_foreign = |authority: &str| {
        let host = authority.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        host.is_none_or(|host| !is_loopback(&host))
    };
    let host = fields.get(HOST).and_then(|host| host.to_str().ok()).or(request.uri().host());
    let origin = fields.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if host.is_none_or(is_foreign) || origin.is_some_and(is_foreign) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fields: [(_, &str); 3] = [
        (CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, value.parse().expect("the fields are fixed"));
    }
    response
}

#[derive(Debug, Deserialize)]
struct Since {
    /// Points after this one; all of them without it.
    since: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    settings: Settings,
    points: Vec<Point>,
}

async fn state(
    State((controls, history)): State<Shared>,
    Query(Since { since }): Query<Since>,
) -> Json<Report> {
    let history = history.lock().expect("no thread panics while it holds the lock");
    let newer = |point: &&Point| since.is_none_or(|since| point.number > since);
    let points = history.iter().filter(newer).cloned().collect();
    Json(Report { settings: controls.settings(), points })
}

async fn settings(State((controls, _)): State<Shared>) -> Json<Settings> {
    Json(controls.settings())
}

/// Asks for JSON, which a form of another site cannot send.
async fn set(
    State((controls, _)): State<Shared>,
    _: HeaderMap,
    Json(settings): Json<Settings>,
) -> Json<Settings> {
    Json(controls.set(settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use tower::ServiceExt;

    async fn status(request: http::request::Builder, body: &'static str) -> StatusCode {
        let router = router(Arc::default(), History::default());
        router
            .oneshot(request.body(Body::from(body)).expect("a request"))
            .await
            .expect("an answer")
            .status()
    }

    fn post() -> http::request::Builder {
        http::Request::post("/settings").header(HOST, "127.0.0.1:3000")
    }

    const SETTINGS: &str = r#"{"load":1,"delay_ms":1,"polite":1,"layers":true}"#;

    #[tokio::test]
    async fn only_pages_of_this_machine_change_settings() {
        let json = || post().header(CONTENT_TYPE, "application/json");
        assert_eq!(status(json(), SETTINGS).await, StatusCode::OK);
        assert_eq!(
            status(json().header(ORIGIN, "http://localhost:3000"), SETTINGS).await,
            StatusCode::OK
        );
        assert_eq!(
            status(json().header(ORIGIN, "https://evil.example"), SETTINGS).await,
            StatusCode::FORBIDDEN
        );
        assert_eq!(status(json().header(ORIGIN, "null"), SETTINGS).await, StatusCode::FORBIDDEN);
        assert_eq!(status(post(), SETTINGS).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(status(json(), r#"{"load":1}"#).await, StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[tokio::test]
    async fn a_name_that_leads_here_from_elsewhere_is_refused() {
        for (host, expected) in [
            ("localhost:3000", StatusCode::OK),
            ("[::1]:3000", StatusCode::OK),
            ("evil.example", StatusCode::FORBIDDEN),
            ("127.0.0.1.evil.example", StatusCode::FORBIDDEN),
        ] {
            let request = http::Request::get("/").header(HOST, host);
            assert_eq!(status(request, "").await, expected, "{host}");
        }
    }
}
