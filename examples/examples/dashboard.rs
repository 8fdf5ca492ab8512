//! A dashboard on a service that is overloaded now and then: open http://127.0.0.1:3000/backpressure and watch.
//!
//! The program is its own traffic. Every two minutes the load goes up to three times what the service can do and
//! down again; one tenant asks for far more than its quota, and is rejected. Payments call a bank, which is slow half of
//! the time and rejects then. Every visitor of the page may act here; a real service asks for more than that.
//!
//! The layers come from the file `dashboard.toml` beside this one: change a number in it, and press "Reload" on the page.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use axum::{BoxError, Router};
use backpressure_dashboard::Dashboard;
use reqwest::{Client, Method, Url};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tower::{Service, ServiceExt};
use tower_backpressure::policy::PolicySet;
use tower_backpressure::{AdmissionLayer, backpressure_client};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/dashboard.toml");

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let bank = serve_bank().await?;
    let policies = PolicySet::load(FILE)?;
    let service = service(bank, &policies)?;
    let dashboard = Dashboard::new()
        .title("checkout")
        .route("POST /pay", ["plans", "api", "payments", "bank"])
        .route("GET /search", ["plans", "api"])
        .actions(|_head, _command| Some("a visitor".to_owned()))
        .reload(move || policies.reload());
    // Outside the layers of the service: it answers when the service is full.
    let app = service.clone().nest_service("/backpressure", dashboard.router());

    tokio::spawn(load(service));
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/backpressure", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

fn service(bank: Url, policies: &PolicySet) -> Result<Router, BoxError> {
    let client = Client::builder().retry(reqwest::retry::never()).build()?;
    let client = backpressure_client("bank", client);
    let pay = move || {
        let request = reqwest::Request::new(Method::GET, bank.clone());
        let mut client = client.clone();
        async move {
            match client.call(request).await {
                Ok(response) if response.status().is_success() => StatusCode::OK,
                _ => StatusCode::BAD_GATEWAY,
            }
        }
    };
    let pool = Arc::new(Semaphore::new(POOL));
    Ok(Router::new()
        .route("/pay", post(pay))
        .route("/search", get(search).with_state(pool))
        .layer(policies.clone()))
}

/// Queries that run at once in the database behind `/search`.
const POOL: usize = 12;
const QUERY_TIME: Duration = Duration::from_millis(40);

async fn search(State(pool): State<Arc<Semaphore>>) -> &'static str {
    let _slot = pool.acquire().await;
    sleep(QUERY_TIME.mul_f64(0.5 + fastrand::f64())).await;
    "found\n"
}

/// Another service, here in the same process.
async fn serve_bank() -> Result<Url, BoxError> {
    let start = Instant::now();
    let transfer = move || async move {
        let is_slow = start.elapsed().as_secs() % 90 > 45;
        sleep(Duration::from_millis(if is_slow { 400 } else { 30 })).await;
        "transferred\n"
    };
    let limit = AdmissionLayer::fixed("bank-server", 4);
    let app = Router::new().route("/", get(transfer)).layer(limit);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?).parse()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

/// Requests that come when they come, however the service does.
async fn load(service: Router) {
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut due = 0.0;
    loop {
        ticks.tick().await;
        let is_high = (40..90).contains(&(start.elapsed().as_secs() % 120));
        due += if is_high { 9.0 } else { 1.6 };
        while due >= 1.0 {
            due -= 1.0;
            let service = service.clone();
            tokio::spawn(async move {
                let Ok(response) = service.oneshot(request()).await;
                // As a caller reads it, to its end.
                let _ = axum::body::to_bytes(response.into_body(), 1 << 20).await;
            });
        }
    }
}

fn request() -> Request<Body> {
    let path =
        if fastrand::u8(..10) == 0 { Request::post("/pay") } else { Request::get("/search") };
    let tenant = match fastrand::u8(..2) {
        0 => "key-1",
        _ => TENANTS[fastrand::usize(..TENANTS.len())],
    };
    let request = path.header("x-tenant", tenant).body(Body::empty());
    request.expect("the path and the header are valid")
}

const TENANTS: [&str; 8] = ["key-2", "key-3", "key-4", "key-5", "key-6", "key-7", "key-8", "key-9"];

// cargo run -p backpressure-examples --example dashboard
//
// $ sleep 2; curl -s localhost:3000/backpressure/state.json
//
// prints: "version":1
