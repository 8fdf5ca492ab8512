//! A quota for each API key: two plans, two windows, and requests that cost more than others.
//!
//! The keys are known to an outer layer; a key that is not known counts as no key at all, and all requests without
//! one share a quota. A change of the plan takes effect while the service runs.

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tower_backpressure::server::{QuotaHandle, QuotaKey, QuotaLayer};
use tower_backpressure::{AdmissionLayer, Quota};

/// What the service knows of a caller.
#[derive(Clone)]
struct Account {
    name: &'static str,
    plan: &'static str,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let quotas =
        QuotaLayer::per("accounts", account, Quota::per_second(2).and(Quota::per_day(100)))
            .plan("pro", Quota::per_second(20).and(Quota::per_day(100_000)))
            .plan_of(|head| head.extensions.get().map_or("default", |it: &Account| it.plan))
            .cost(|head| if head.uri.path() == "/export" { 2 } else { 1 });

    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/export", get(async || "all of it\n"))
        .layer(AdmissionLayer::adaptive("api"))
        .layer(quotas)
        .layer(middleware::from_fn(authenticate)) // outermost: says whose request it is
        .route("/admin/pro/{per_second}", post(change_plan));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

fn account(head: &Parts) -> Option<QuotaKey> {
    head.extensions.get().map(|account: &Account| account.name.into())
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    let account = match request.headers().get("x-api-key").map(|key| key.as_bytes()) {
        Some(b"free-key") => Some(Account { name: "batch", plan: "default" }),
        Some(b"pro-key") => Some(Account { name: "reports", plan: "pro" }),
        _ => None,
    };
    if let Some(account) = account {
        request.extensions_mut().insert(account);
    }
    next.run(request).await
}

/// Accounts keep what they have used.
async fn change_plan(Path(per_second): Path<u32>) -> StatusCode {
    let Some(handle) = QuotaHandle::named("accounts").filter(|_| per_second > 0) else {
        return StatusCode::BAD_REQUEST;
    };
    let quota = Quota::per_second(per_second.into()).and(Quota::per_day(100_000));
    handle.set_plan("pro", quota);
    StatusCode::NO_CONTENT
}

// cargo run -p backpressure-examples --example quotas
//
// The third request within a second is rejected, and says when there are tokens:
//
// $ for n in 1 2 3; do curl -si -H 'x-api-key: free-key' localhost:3000/ | grep -iE '^(HTTP|retry|rate)'; done
// $ curl -si -H 'x-api-key: pro-key' localhost:3000/export | grep -i ratelimit
// $ curl -X POST localhost:3000/admin/pro/50
//
// prints: HTTP/1.1 429 Too Many Requests
