//! The dashboard behind nginx as it is by default: it buffers responses, and sends the service a host of its own.

use axum::Router;
use backpressure_dashboard::Dashboard;
use backpressure_tests::server::serve;
use http::StatusCode;
use reqwest::Client;
use tower_backpressure::AdmissionLayer;

use crate::process::{Server, free_place};

async fn nginx_before(app: Router) -> Server {
    let service = serve(app).await;
    let (address, folder) = free_place("nginx-dashboard");
    let http = format!(
        "access_log off;
         server {{ listen {address}; location / {{ proxy_pass http://{service}; }} }}"
    );
    Server::nginx(&http, folder, address).await
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_page_behind_a_proxy_gets_each_state_by_itself() {
    let _layer = AdmissionLayer::fixed("behind-nginx", 4);
    let app = Router::new().nest_service("/ops", backpressure_dashboard::router());
    let server = nginx_before(app).await;
    let url = format!("http://{}/ops/events", server.address);
    let mut response = Client::new().get(url).send().await.expect("a response");
    let mut most_at_once = 0;
    while let Some(chunk) = response.chunk().await.expect("no error") {
        let events = String::from_utf8_lossy(&chunk).matches("retry: ").count();
        most_at_once = most_at_once.max(events);
    }
    assert_eq!(most_at_once, 1, "states that came together were late");
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_browser_may_act_through_a_proxy_that_sends_another_host() {
    let layer = AdmissionLayer::fixed("acted-behind-nginx", 4);
    let dashboard: Router = Dashboard::new().actions(|_, _| Some("admin".to_owned())).router();
    let server = nginx_before(dashboard).await;
    let action = |site: &'static str| {
        let id = layer.handle().id();
        Client::new()
            .post(format!("http://{}/actions", server.address))
            .header("origin", "https://ops.example")
            .header("sec-fetch-site", site)
            .header("x-backpressure-action", "1")
            .header("content-type", "application/json")
            .body(format!(r#"{{"action":"pin","policy":{id},"limit":9}}"#))
    };
    let forged = action("cross-site").send().await.expect("a response");
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    assert_eq!(layer.snapshot().limit, 4);
    let same = action("same-origin").send().await.expect("a response");
    assert_eq!(same.status(), StatusCode::OK);
    assert_eq!(layer.snapshot().limit, 9);
}
