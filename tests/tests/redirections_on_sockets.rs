//! Redirections to another origin that reqwest follows inside the layers: what that origin answers says nothing of the
//! one that was asked.

use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use backpressure_tests::server::serve;
use http::{HeaderMap, StatusCode, Uri};
use reqwest::{Method, Request, Url};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::{BreakerPhase, CooldownPhase};
use tower_backpressure::{
    BreakerLayer, ClientStack, CooldownLayer, OriginLimitLayer, RetryLayer, ThrottleLayer,
};

const REQUESTS: usize = 40;

/// The layers of a client, and what they know.
struct Known {
    cooldown: CooldownLayer,
    limit: OriginLimitLayer,
    breaker: BreakerLayer,
}

impl Known {
    fn new() -> Self {
        let cooldown = CooldownLayer::new("moved");
        let (limit, breaker) = (OriginLimitLayer::new("moved"), BreakerLayer::new("moved"));
        Self { cooldown, limit, breaker }
    }

    /// Sends requests one after the other, and returns the statuses of their responses.
    async fn send(&self, url: &str) -> Vec<StatusCode> {
        let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build();
        let client = ClientStack::new("moved")
            .retry(RetryLayer::named("moved").max_attempts(1))
            .cooldown(self.cooldown.clone())
            .origin_limit(self.limit.clone())
            .breaker(self.breaker.clone())
            .layer(reqwest.expect("valid options"));
        let url: Url = url.parse().expect("a URL");
        let mut statuses = Vec::new();
        for _ in 0..REQUESTS {
            let request = Request::new(Method::GET, url.clone());
            let response = client.clone().oneshot(request).await.expect("a response");
            statuses.push(response.status());
        }
        statuses
    }

    /// Asserts that nothing holds back requests to this origin.
    fn assert_open(&self, origin: &str) {
        let origin: Uri = origin.parse().expect("a URI");
        let cooldown = self.cooldown.snapshot(&origin).expect("known");
        assert_eq!(cooldown.phase, CooldownPhase::Inactive);
        assert_eq!(self.breaker.snapshot(&origin).expect("known").phase, BreakerPhase::Closed);
        let limit = self.limit.limiter(&origin).expect("known").snapshot().limit;
        assert!(limit >= 90, "it began at 100: {limit}");
    }
}

/// An origin that redirects to another one, and the other one, which answers like this.
async fn origins(status: StatusCode) -> [String; 2] {
    let refuses = move || async move { (status, [("retry-after", "30")]) };
    let other = serve(Router::new().route("/busy", get(refuses))).await;
    let target = format!("http://{other}/busy");
    let first = serve(Router::new().route("/moved", get(|| async move { Redirect::to(&target) })));
    [first.await, other].map(|address| format!("http://{address}"))
}

#[tokio::test]
async fn the_origin_that_redirects_is_not_held_responsible_for_the_other_one() {
    for status in [429, 503, 529, 500].map(|code| StatusCode::from_u16(code).expect("a status")) {
        let [first, _] = origins(status).await;
        let known = Known::new();
        let statuses = known.send(&format!("{first}/moved")).await;
        assert_eq!(statuses, [status; REQUESTS], "{status}");
        known.assert_open(&first);
    }
}

#[tokio::test]
async fn a_rule_for_the_time_is_not_asked_about_the_response_of_another_origin() {
    let [first, other] = origins(StatusCode::FORBIDDEN).await;
    let told = |status, _: &HeaderMap| {
        (status == StatusCode::FORBIDDEN).then_some(Duration::from_secs(30))
    };
    let known = Known { cooldown: CooldownLayer::new("moved").told(told), ..Known::new() };
    let statuses = known.send(&format!("{first}/moved")).await;
    assert_eq!(statuses, [StatusCode::FORBIDDEN; REQUESTS]);
    known.assert_open(&first);
    let statuses = known.send(&format!("{other}/busy")).await;
    assert!(statuses.contains(&StatusCode::SERVICE_UNAVAILABLE), "asked itself, it is obeyed");
}

#[tokio::test]
async fn a_throttle_counts_a_redirection_as_accepted() {
    let [first, _] = origins(StatusCode::TOO_MANY_REQUESTS).await;
    let throttle = ThrottleLayer::new("moved");
    let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).build();
    let client = throttle.layer(reqwest.expect("valid options"));
    let url: Url = format!("{first}/moved").parse().expect("a URL");
    for _ in 0..REQUESTS {
        let request = Request::new(Method::GET, url.clone());
        let response = client.clone().oneshot(request).await.expect("a response");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn a_failure_after_a_redirection_within_the_origin_counts() {
    let app = Router::new()
        .route("/moved", get(|| async { Redirect::to("/busy") }))
        .route("/busy", get(|| async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "30")]) }));
    let known = Known::new();
    let statuses = known.send(&format!("http://{}/moved", serve(app).await)).await;
    assert!(statuses.contains(&StatusCode::SERVICE_UNAVAILABLE), "{statuses:?}");
}
