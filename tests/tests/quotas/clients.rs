//! Clients of other kinds at a quota: gRPC, axum on sockets, and this crate's own retries.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use backpressure_tests::server::{listen, serve};
use http::{Request, Response};
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_backpressure::server::QuotaLayer;
use tower_backpressure::{Quota, RetryLayer};

use crate::support::{BY_KEY, Done, request};

#[tokio::test]
async fn a_grpc_call_over_its_quota_is_resource_exhausted_with_pushback_and_retry_info() {
    let (listener, address) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let quota = QuotaLayer::of_all("grpc", Quota::per_hour(2));
    let server = Server::builder().layer(quota).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URI");
    let mut client = HealthClient::new(channel.connect().await.expect("the server listens"));
    let request = || HealthCheckRequest { service: String::new() };
    for _ in 0..2 {
        client.check(request()).await.expect("within the quota");
    }
    let status = client.check(request()).await.expect_err("over the quota");
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "quota exceeded"));
    let pushback = status.metadata().get("grpc-retry-pushback-ms").expect("pushback");
    let millis: u64 = pushback.to_str().expect("text").parse().expect("a number");
    assert!((1_700_000..=1_800_000).contains(&millis), "{millis}");
    let info = status.get_details_retry_info().expect("google.rpc.RetryInfo");
    assert_eq!(info.retry_delay, Some(Duration::from_millis(millis)));
}

#[tokio::test(start_paused = true)]
async fn our_own_client_waits_for_its_tokens_even_with_a_post() {
    let quota = QuotaLayer::per("retried", BY_KEY, Quota::per_second(1).burst(1));
    let client =
        ServiceBuilder::new().layer(RetryLayer::named("client")).layer(quota).service(Done);
    let start = Instant::now();
    for second in 0..5 {
        let mut post = request("a");
        *post.method_mut() = http::Method::POST;
        let response = client.clone().oneshot(post).await.expect("no error");
        assert_eq!(response.status(), 200);
        let elapsed = start.elapsed();
        // Never before the token, and with less than two seconds of jitter each.
        assert!(elapsed >= Duration::from_secs(second), "{elapsed:?}");
        assert!(elapsed <= Duration::from_secs(3 * second + 1), "{elapsed:?}");
    }
}

#[tokio::test]
async fn routes_and_connections_of_an_axum_app_share_one_quota_and_uploads_learn_of_it() {
    let layer = QuotaLayer::of_all("app", Quota::per_hour(6));
    let upload = post(async |body: bytes::Bytes| body.len().to_string());
    let app = Router::new().route("/", get(async || "hello")).route("/upload", upload).layer(layer);
    let address = serve(app).await;
    let mut served = 0;
    for index in 0..12 {
        // A client of its own has a connection of its own.
        let client = reqwest::Client::new();
        let response = if index % 2 == 0 {
            client.get(format!("http://{address}/")).send().await
        } else {
            client.post(format!("http://{address}/upload")).body(vec![0; 1_000_000]).send().await
        };
        let response = response.expect("a response");
        served += u32::from(response.status() == 200);
        if response.status() != 200 {
            assert_eq!(response.status(), 429);
            assert!(response.headers().contains_key("retry-after"));
        }
    }
    assert_eq!(served, 6);
}

#[tokio::test(start_paused = true)]
async fn bodies_have_the_type_that_outer_layers_expect() {
    let quota = QuotaLayer::of_all("bodies", Quota::per_hour(1));
    let service = quota.layer(Done);
    let response: Response<_> =
        service.oneshot(Request::new(String::new())).await.expect("no error");
    let empty: Response<tower_backpressure::ResponseBody<String>> = Response::default();
    drop((response, empty));
}
