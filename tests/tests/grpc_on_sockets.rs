//! A tonic client and a tonic server with the layer between them.

use std::net::SocketAddr;
use std::time::Duration;

use backpressure_tests::server::listen;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, QueueBounds, RequestInfoLayer, StreamPolicy,
};

const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// The health service of tonic, with a unary and a streaming method.
async fn serve(admission: AdmissionLayer) -> SocketAddr {
    let (listener, address) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(RequestInfoLayer::from_headers())
        .layer(admission)
        .layer(BulkheadLayer::new("inner", 1_000))
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

async fn client(address: SocketAddr) -> HealthClient<Channel> {
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URI");
    HealthClient::new(channel.connect().await.expect("the server listens"))
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

fn assert_is_rejection(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(status.message(), "overloaded");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").expect("pushback");
    let millis: u64 = pushback.to_str().expect("text").parse().expect("a number");
    let info = status.get_details_retry_info().expect("google.rpc.RetryInfo");
    assert_eq!(info.retry_delay, Some(Duration::from_millis(millis)));
    assert!(millis >= 1_000);
}

#[tokio::test]
async fn a_tonic_client_reads_status_pushback_and_retry_info() {
    let admission = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let mut client = client(serve(admission.clone()).await).await;
    client.check(request()).await.expect("a permit is free");
    admission.handle().drained().await;
    let permit = admission.limiter().try_acquire().expect("a free permit");
    assert_is_rejection(&client.check(request()).await.expect_err("no permit is free"));
    assert_is_rejection(&client.watch(request()).await.expect_err("no permit is free"));
    drop(permit);
    client.check(request()).await.expect("a permit is free again");
    admission.handle().stop();
    assert_is_rejection(&client.check(request()).await.expect_err("stopped"));
}

#[tokio::test]
async fn a_call_is_rejected_at_once_if_its_deadline_comes_before_a_permit() {
    let admission = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(16, HANG_TIMEOUT));
    let mut client = client(serve(admission.clone()).await).await;
    let mut call = tonic::Request::new(request());
    // Nanoseconds: past when the server reads it.
    call.metadata_mut().insert("grpc-timeout", "1n".parse().expect("a value"));
    let status = client.check(call).await.expect_err("it comes too late");
    assert!(matches!(status.code(), Code::Unavailable | Code::Cancelled), "{status:?}");
    client.check(request()).await.expect("a permit is free");
}

#[tokio::test]
async fn watches_of_grpc_keep_no_call_out_and_have_a_cap() {
    let admission = AdmissionLayer::fixed("api", 2)
        .queue(QueueBounds::NONE)
        .streams(StreamPolicy::Watch(20))
        .stream_if(|head| head.uri.path() == "/grpc.health.v1.Health/Watch");
    let mut client = client(serve(admission.clone()).await).await;
    let mut watches = Vec::new();
    for _ in 0..20 {
        let mut watch = client.watch(request()).await.expect("below the cap").into_inner();
        watch.message().await.expect("a stream").expect("the state now");
        watches.push(watch);
    }
    let over = client.watch(request()).await.expect_err("twenty are open");
    assert_is_rejection(&over);
    assert!(over.metadata().get("x-shed-reason").is_none(), "its handler has run");
    for _ in 0..20 {
        client.check(request()).await.expect("watches take no permit");
        while admission.snapshot().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(admission.handle().streams(), 20);
    drop(watches);
    tokio::time::timeout(HANG_TIMEOUT, admission.handle().drained()).await.expect("all have ended");
}
