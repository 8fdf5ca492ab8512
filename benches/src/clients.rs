//! The client layers that are measured: ours and tower's, around a client that responds at once.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, RetryLayer as TowerRetryLayer};
use tower::{Layer, Service};
use tower_backpressure::client::{AttemptTimeoutLayer, backpressure_client};
use tower_backpressure::{BreakerLayer, CooldownLayer, OriginLimitLayer, RetryLayer};

use crate::contenders::{BARE, Contender};
use crate::served::Served;

/// The contender that the others are compared with.
pub const TOWER_RETRY: &str = "tower-retry";

/// All contenders. Each request has the URI of one origin.
pub fn clients() -> Vec<Contender> {
    let timeout = AttemptTimeoutLayer::new(Duration::from_secs(30));
    let tower = TowerRetryLayer::new(Never(Arc::new(TpsBudget::default())));
    vec![
        Contender::new(BARE, Addressed(Served)),
        Contender::new(TOWER_RETRY, Addressed(tower.layer(Served))),
        Contender::new("retry", Addressed(RetryLayer::new().layer(Served))),
        Contender::new("cool-down", Addressed(CooldownLayer::new("bench").layer(Served))),
        Contender::new("origin-limit", Addressed(OriginLimitLayer::new("bench").layer(Served))),
        Contender::new("breaker", Addressed(BreakerLayer::new("bench").layer(Served))),
        Contender::new("attempt-timeout", Addressed(timeout.layer(Served))),
        Contender::new("stack", Addressed(backpressure_client("bench", Served))),
    ]
}

/// Sends each request to one origin, with a field as clients send it.
#[derive(Clone, Debug)]
struct Addressed<S>(S);

impl<S: Service<Request<()>>> Service<Request<()>> for Addressed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        *request.uri_mut() = Uri::from_static("http://search.internal/query");
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        self.0.call(request)
    }
}

/// A policy of tower's retry that copies each request, counts it in a budget, and finds nothing to repeat.
#[derive(Clone, Debug)]
struct Never(Arc<TpsBudget>);

impl Policy<Request<()>, Response<Full<Bytes>>, Infallible> for Never {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _request: &mut Request<()>,
        result: &mut Result<Response<Full<Bytes>>, Infallible>,
    ) -> Option<Ready<()>> {
        match result {
            Ok(response) if response.status().is_server_error() => {
                self.0.withdraw().then(|| std::future::ready(()))
            }
            _ => {
                self.0.deposit();
                None
            }
        }
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}
