//! A tonic server behind an admission layer, and a tonic client behind a retry layer.

use std::net::SocketAddr;
use std::time::Duration;

use backpressure_tests::server::listen;
use tokio::time::Instant;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;
use tower_backpressure::{AdmissionLayer, QueueBounds, RetryLayer};

use crate::SECOND;

async fn serve(admission: AdmissionLayer) -> SocketAddr {
    let (listener, address) = listen().await;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(admission).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

#[tokio::test]
async fn a_call_that_is_rejected_is_repeated_after_the_pushback_and_never_before() {
    let admission = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let address = serve(admission.clone()).await;
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URI");
    let channel = channel.connect().await.expect("the server listens");
    let retry = RetryLayer::named("health")
        .error_type::<tonic::transport::Error>()
        .buffer_bodies(64 * 1024, tonic::body::Body::new);
    let mut client = HealthClient::new(retry.layer(channel));
    let permit = admission.limiter().try_acquire().expect("a free permit");
    let start = Instant::now();
    let release = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(permit);
    });
    let request = HealthCheckRequest { service: String::new() };
    client.check(request).await.expect("served at the second attempt");
    assert!(start.elapsed() >= SECOND, "{:?}", start.elapsed());
    release.await.expect("no panic");
}
