//! Nanoseconds that a successful request takes in `reqwest-retry`, beside tower's `Retry` and our client layers, all over
//! the types of reqwest and around a client that responds at once.
//!
//! It is measured here so that the lockfile of the product is free of `reqwest-retry`. `-- --contender stack --count 100000`
//! sends that many requests through one contender, for a profiler.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_benches::contenders::{BARE, Contender};
use backpressure_benches::count;
use backpressure_benches::rounds::report;
use bytes::Bytes;
use http::{Extensions, Method};
use reqwest::{Request, Response, Url};
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use reqwest_retry::RetryTransientMiddleware;
use reqwest_retry::policies::ExponentialBackoff;
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, RetryLayer as TowerRetryLayer};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::client::{AttemptTimeoutLayer, backpressure_client};
use tower_backpressure::{BreakerLayer, CooldownLayer, OriginLimitLayer, RetryLayer};

const TOWER_RETRY: &str = "tower-retry";

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this too, without the flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let Some((name, requests)) = count::asked_for(&arguments) {
        let runtime = count::runtime();
        let _context = runtime.enter();
        return count::run(&runtime, contenders(), name, requests, || ());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _context = runtime.enter();
    report("a client of reqwest, one thread", &mut contenders(), 1, TOWER_RETRY);
    ExitCode::SUCCESS
}

fn contenders() -> Vec<Contender> {
    let tower = TowerRetryLayer::new(OnServerErrors(Arc::new(TpsBudget::default())));
    let timeout = AttemptTimeoutLayer::new(Duration::from_secs(30));
    let policy = ExponentialBackoff::builder().build_with_max_retries(2);
    let middleware = ClientBuilder::new(reqwest::Client::new())
        .with(RetryTransientMiddleware::new_with_policy(policy))
        .with(Served)
        .build();
    let reqwest_retry = service_fn(move |request| {
        let client = middleware.clone();
        async move { client.execute(request).await }
    });
    vec![
        contender(BARE, Served),
        contender(TOWER_RETRY, tower.layer(Served)),
        contender("reqwest-retry", reqwest_retry),
        contender("retry", RetryLayer::new().layer(Served)),
        contender("cool-down", CooldownLayer::new("bench").layer(Served)),
        contender("origin-limit", OriginLimitLayer::new("bench").layer(Served)),
        contender("breaker", BreakerLayer::new("bench").layer(Served)),
        contender("attempt-timeout", timeout.layer(Served)),
        contender("stack", backpressure_client("bench", Served)),
    ]
}

/// Sends each request to one origin.
fn contender<S>(name: &'static str, service: S) -> Contender
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    let url = Url::parse("http://search.internal/query").expect("a URL");
    let request = move |_: http::Request<()>| Request::new(Method::GET, url.clone());
    let service = service.map_request(request).map_response(http::Response::<reqwest::Body>::from);
    Contender::new(name, service)
}

/// A client that responds at once: as a service, and as the last middleware.
#[derive(Clone, Copy, Debug)]
struct Served;

fn served() -> Response {
    http::Response::new(Bytes::from_static(b"served")).into()
}

impl Service<Request> for Served {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, _request: Request) -> Self::Future {
        ready(Ok(served()))
    }
}

#[async_trait::async_trait]
impl Middleware for Served {
    async fn handle(
        &self,
        _request: Request,
        _extensions: &mut Extensions,
        _next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        Ok(served())
    }
}

/// A policy of tower's retry that copies each request and counts it in a budget.
#[derive(Clone, Debug)]
struct OnServerErrors(Arc<TpsBudget>);

impl Policy<Request, Response, Infallible> for OnServerErrors {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _request: &mut Request,
        result: &mut Result<Response, Infallible>,
    ) -> Option<tokio::time::Sleep> {
        match result {
            Ok(response) if response.status().is_server_error() => {
                self.0.withdraw().then(|| tokio::time::sleep(Duration::from_millis(50)))
            }
            _ => {
                self.0.deposit();
                None
            }
        }
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        request.try_clone()
    }
}
