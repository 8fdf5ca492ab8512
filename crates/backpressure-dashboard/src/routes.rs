//! The page, its data and its actions over HTTP.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware::map_response;
use axum::routing::{get, post};
use axum::{Router, response::IntoResponse};
use futures_util::stream;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use crate::actions::{Asked, Operations, Outcome, forgery};
use crate::clients::Place;
use crate::sampler::{Published, Sampler};

/// The page: one file, without anything from elsewhere.
const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>",
    include_str!("page/style.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>",
    include_str!("page/script.js"),
    "</script>\n</body>\n</html>\n",
);

/// Only the style and the script of the page run, by their SHA-256; a test keeps them current.
const CONTENT_SECURITY_POLICY: &str = concat!(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; img-src data:; ",
    "style-src 'sha256-",
    include_str!("page/style.sha256"),
    "'; script-src 'sha256-",
    include_str!("page/script.sha256"),
    "'",
);

/// Of every response: nothing is stored, changed, guessed, framed or sent elsewhere.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A stream ends after this time and the page connects anew, so that open pages delay the graceful shutdown of a server
/// by no more than that.
const STREAM_TIME: std::time::Duration = std::time::Duration::from_secs(20);
/// The largest request for an action.
const MAX_ACTION_BYTES: usize = 4_096;

/// A request for an action that takes longer to arrive has hung.
const ACTION_TIME: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(Clone)]
struct App {
    sampler: Arc<Sampler>,
    operations: Operations,
}

pub(crate) fn router<S: Clone + Send + Sync + 'static>(
    sampler: Arc<Sampler>,
    operations: Operations,
) -> Router<S> {
    Router::new()
        .route("/", get(page))
        .route("/state.json", get(state))
        .route("/history.json", get(history))
        .route("/events", get(events))
        .route("/actions", post(act))
        .layer(map_response(secure))
        .with_state(App { sampler, operations })
}

async fn secure<B>(mut response: Response<B>) -> Response<B> {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn page(State(app): State<App>) -> impl IntoResponse {
    app.sampler.start();
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)
}

async fn state(State(app): State<App>) -> impl IntoResponse {
    app.sampler.start();
    json_body(app.sampler.state_json())
}

async fn history(State(app): State<App>) -> impl IntoResponse {
    app.sampler.start();
    json_body(app.sampler.history_json().into())
}

fn json_body(json: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], json)
}

/// The latest state now and each second. A page that reads slowly gets the latest when it is ready, and none of those
/// between.
async fn events(State(app): State<App>) -> axum::response::Response {
    app.sampler.start();
    let Some(place) = app.sampler.clients.enter() else {
        let body = json!({ "error": "as many pages are open as may be" });
        let retry = [(header::RETRY_AFTER, "5")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, axum::Json(body)).into_response();
    };
    let mut published = app.sampler.subscribe();
    published.mark_changed();
    // The router is not kept alive by its streams.
    drop(app);
    let ends = Instant::now() + STREAM_TIME;
    let events = stream::unfold(Some((published, place)), move |open| next_event(open, ends));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // nginx and others keep a response back until it fills a buffer, which takes more seconds than a stream lasts.
        (X_ACCEL_BUFFERING, "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

type Open = (tokio::sync::watch::Receiver<Published>, Arc<Place>);
type Event = Result<Bytes, std::convert::Infallible>;

async fn next_event(open: Option<Open>, ends: Instant) -> Option<(Event, Option<Open>)> {
    let (mut published, place) = open?;
    if !place.read() {
        return None;
    }
    timeout_at(ends, published.changed()).await.ok()?.ok()?;
    let Published { event, is_ending, .. } = published.borrow_and_update().clone();
    // While the process may be about to end, each stream has one event: a page that connects again each second delays
    // no shutdown.
    Some((Ok(event), (!is_ending).then_some((published, place))))
}

async fn act(State(app): State<App>, request: Request) -> axum::response::Response {
    let (head, body) = request.into_parts();
    if app.operations.names().is_empty() {
        return refuse(StatusCode::FORBIDDEN, "this dashboard only reads");
    }
    if let Some(why) = forgery(&head) {
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let body = timeout(ACTION_TIME, axum::body::to_bytes(body, MAX_ACTION_BYTES)).await;
    let Ok(Ok(body)) = body else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large or was cut short");
    };
    let command = serde_json::from_slice::<Asked>(&body).map_err(|error| error.to_string());
    let command = match command.and_then(Asked::command) {
        Ok(command) => command,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    // A task of its own: what was begun is done and audited, also when its operator leaves.
    let outcome = tokio::spawn(async move {
        let audit = app.operations.run(&head, command).await;
        app.sampler.acted(&audit);
        audit.outcome
    });
    match outcome.await {
        Ok(Outcome::Done) => axum::Json(json!({ "done": true })).into_response(),
        Ok(Outcome::Refused) => refuse(StatusCode::FORBIDDEN, "you may not do this"),
        Ok(Outcome::Failed(why)) => refuse(StatusCode::CONFLICT, &why),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the action has panicked"),
    }
}

fn refuse(status: StatusCode, why: &str) -> axum::response::Response {
    (status, axum::Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    /// What a browser compares: the base64 of the SHA-256 of the text between the tags.
    fn digest(text: &str) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let sextets = Sha256::digest(text).iter().fold(Vec::new(), |mut bits, byte| {
            bits.extend((0..8).rev().map(|bit| byte >> bit & 1));
            bits
        });
        let digit = |bits: &[u8]| {
            let index = (0..6).fold(0, |value, at| 2 * value + bits.get(at).copied().unwrap_or(0));
            char::from(DIGITS[usize::from(index)])
        };
        let mut text: String = sextets.chunks(6).map(digit).collect();
        text.push('=');
        text
    }

    #[test]
    fn the_policy_of_the_page_allows_its_own_style_and_script() {
        // On a change, write these into the two files:
        // openssl dgst -sha256 -binary script.js | base64 | tr -d '\n' > script.sha256
        assert_eq!(include_str!("page/style.sha256"), digest(include_str!("page/style.css")));
        assert_eq!(include_str!("page/script.sha256"), digest(include_str!("page/script.js")));
    }
}
