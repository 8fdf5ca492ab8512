//! A tonic client that obeys the pushback of a gRPC server.
//!
//! The server admits one call at a time. Its only permit is in use for the first 300 ms, so the first attempt is
//! rejected with `UNAVAILABLE` and `grpc-retry-pushback-ms`. The client waits for that time, and the call succeeds.

use std::error::Error;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;
use tower_backpressure::{AdmissionLayer, QueueBounds, RetryLayer};

/// Messages up to this size are kept for a retry, and larger ones are sent once.
const MAX_KEPT_BYTES: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let admission = AdmissionLayer::fixed("health", 1).queue(QueueBounds::NONE);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(admission.clone()).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let permit = admission.limiter().try_acquire()?;
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(permit);
    });

    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let channel = ServiceBuilder::new()
        .layer(
            RetryLayer::named("health")
                .error_type::<tonic::transport::Error>()
                .buffer_bodies(MAX_KEPT_BYTES, tonic::body::Body::new),
        )
        .service(channel);
    let mut client = HealthClient::new(channel);
    let status = client.check(HealthCheckRequest::default()).await?.into_inner().status();
    println!("after a pushback: {status:?}");
    Ok(())
}

// cargo run -p backpressure-examples --example grpc_client
//
// prints: after a pushback: Serving
