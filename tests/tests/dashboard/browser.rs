//! A real browser at a service that storms: see `browser.cjs` beside this file.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::Request;
use axum::routing::{get, post};
use backpressure_dashboard::{Dashboard, router};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Client, Method};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_backpressure::server::{ByHeader, QuotaLayer};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds, Quota, backpressure_client};

/// 4 at once, 20 ms each: about 200 a second. Four times as many come.
async fn work() -> &'static str {
    sleep(Duration::from_millis(20)).await;
    "done"
}

fn service() -> Router {
    let admission =
        AdmissionLayer::fixed("storm", 4).queue(QueueBounds::new(8, Duration::from_millis(200)));
    let hostile = BulkheadLayer::new("<img src=x onerror=alert(1)>", 3);
    let tenants = ByHeader::new("x-tenant".parse().expect("a valid name"));
    Router::new()
        .route("/", get(work))
        .route("/hostile", get(work).layer(hostile))
        .layer(admission)
        .layer(QuotaLayer::per("plans", tenants, Quota::per_second(10_000)))
}

/// More policies than the drawing of the flow has room for; they live as long as the routes that they stand around.
fn unused(router: Router) -> Router {
    (0..40).fold(router, |router, number| {
        let layer = BulkheadLayer::new(&format!("unused \"{number}\"\n{}", "x".repeat(40)), 2);
        router.route(&format!("/unused/{number}"), get(work).layer(layer))
    })
}

/// Requests while `is_on`, however the service does.
async fn load(service: Router, is_on: Arc<AtomicBool>) {
    for number in 0_u64.. {
        sleep(Duration::from_micros(1_250)).await;
        if !is_on.load(Ordering::Relaxed) {
            continue;
        }
        let path = if number % 10 == 0 { "/hostile" } else { "/" };
        let request = Request::get(path).header("x-tenant", format!("tenant-{}", number % 5));
        let request = request.body(Body::empty()).expect("a valid request");
        let service = service.clone();
        tokio::spawn(async move {
            let response = service.oneshot(request).await.expect("infallible");
            axum::body::to_bytes(response.into_body(), 1 << 20).await
        });
    }
}

/// A few calls through the stack of a client.
async fn call(url: String) {
    let mut client = backpressure_client("bank", Client::new());
    loop {
        sleep(Duration::from_millis(50)).await;
        let request = reqwest::Request::new(Method::GET, url.parse().expect("a URL"));
        let _ = client.call(request).await;
    }
}

async fn serve() -> String {
    let metrics = PrometheusBuilder::new().install_recorder().expect("the only global recorder");
    let (service, is_on) = (service(), Arc::new(AtomicBool::new(true)));
    let switch = Arc::clone(&is_on);
    let switch = move |Path(to): Path<String>| {
        switch.store(to == "on", Ordering::Relaxed);
        std::future::ready("")
    };
    let titled = |title: &str| Dashboard::new().title(title).route("GET /", ["plans", "storm"]);
    let app = unused(service.clone())
        .route("/bank", get(work))
        .route("/metrics", get(move || std::future::ready(metrics.render())))
        .route("/test/load/{to}", post(switch))
        .nest("/read", router())
        .nest("/write", titled("write").actions(|_, _| Some("browser".to_owned())).router())
        .nest("/refuse", titled("refuse").actions(|_, _| None).router());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(load(service, is_on));
    tokio::spawn(call(format!("{base}/bank")));
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

/// `DASHBOARD_NODE` has the npm packages `puppeteer-core` and `axe-core`; `DASHBOARD_SHOTS` is where screenshots go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium, node and two npm packages: DASHBOARD_NODE=folder"]
async fn a_person_in_a_browser_sees_what_the_service_does_and_may_do_what_is_allowed() {
    let folder = std::env::var("DASHBOARD_NODE").expect("DASHBOARD_NODE names a folder of npm's");
    let base = serve().await;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard/browser.cjs");
    let mut node = Command::new("node");
    node.arg(script).arg(base).args(std::env::var("DASHBOARD_SHOTS").ok());
    node.env("NODE_PATH", PathBuf::from(folder).join("node_modules"));
    let run = tokio::task::spawn_blocking(move || node.stdin(Stdio::null()).status());
    let status = run.await.expect("no panic").expect("node runs");
    assert!(status.success(), "{status}: see above");
}
