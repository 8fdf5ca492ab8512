//! A gRPC server behind an admission layer, and a client that reads what a rejection says: tonic at both ends.
//!
//! The service is tonic's own health service, so that the example needs no protocol buffers of its own. Calls
//! count towards a limit of 1, and watches, which stream, under a cap of their own.

use std::error::Error;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower_backpressure::{AdmissionLayer, QueueBounds, RequestInfoLayer, StreamPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let admission = AdmissionLayer::fixed("health", 1)
        .queue(QueueBounds::NONE)
        .streams(StreamPolicy::Watch(100))
        .stream_if(|head| head.uri.path() == "/grpc.health.v1.Health/Watch");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(RequestInfoLayer::from_headers()) // reads grpc-timeout
        .layer(admission.clone())
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let channel = Channel::from_shared(format!("http://{address}"))?
        .timeout(Duration::from_secs(2)) // sent as grpc-timeout
        .connect()
        .await?;
    let mut client = HealthClient::new(channel);
    let watch = client.watch(HealthCheckRequest::default()).await?;
    println!("a watch is open and takes no permit: {:?}", admission.snapshot());
    let status = client.check(HealthCheckRequest::default()).await?.into_inner().status();
    println!("a call: {status:?}");

    // All permits are in use: a handler that hangs would have the same effect.
    let permit = admission.limiter().try_acquire()?;
    let rejected =
        client.check(HealthCheckRequest::default()).await.expect_err("no permit is free");
    let delay = rejected.get_details_retry_info().and_then(|info| info.retry_delay);
    println!("a rejected call: {:?}, come back in {delay:?}", rejected.code());
    drop((permit, watch));
    Ok(())
}

// cargo run -p backpressure-examples --example grpc
//
// prints: a rejected call: Unavailable
