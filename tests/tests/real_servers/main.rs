//! The client layers against nginx, haproxy and tonic: what is understood, never early, and not repeated; and the
//! dashboard behind nginx.
//!
//! The tests of nginx and haproxy are ignored by default because they need these programs; `.ci/run` installs them
//! and runs the tests. Each server counts what it gets in its own log. No test judges how fast the machine is.

mod dashboard;
mod haproxy;
mod nginx;
mod process;
mod tonic_server;

use std::time::Duration;

use reqwest::{Client, Method, Request, Response};
use tower::{Layer, Service, ServiceExt};
use tower_backpressure::RetryLayer;
use tower_backpressure::client::{Retry, backpressure_client};

use crate::process::Server;

const SECOND: Duration = Duration::from_secs(1);

fn reqwest_client() -> Client {
    Client::builder().retry(reqwest::retry::never()).build().expect("valid options")
}

fn retrying() -> Retry<Client> {
    RetryLayer::new().layer(reqwest_client())
}

/// A whole stack of its own.
fn stack()
-> impl Service<Request, Response = Response, Error = reqwest::Error, Future: Send> + Clone {
    backpressure_client("real-server", reqwest_client())
}

async fn send<S>(client: &S, server: &Server, method: Method, path: &str) -> Response
where
    S: Service<Request, Response = Response, Error = reqwest::Error> + Clone,
{
    let url = format!("http://{}{path}", server.address).parse().expect("a URL");
    client.clone().oneshot(Request::new(method, url)).await.expect("a response")
}
