//! What an answer teaches the limit of its origin.

use std::convert::Infallible;
use std::future::ready;

use backpressure_tests::samples::Notebook;
use http::{Request, Response, StatusCode, Uri};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::OriginLimitLayer;
use tower_backpressure::Outcome;

const HERE: &str = "http://here/";

/// What an answer with this head teaches.
async fn taught(layer: OriginLimitLayer, head: http::response::Builder) -> Outcome {
    let answer = head.body(String::new()).expect("a response");
    let client =
        layer.layer(service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(answer.clone()))));
    let get = || Request::get(HERE).body(()).expect("a request");
    client.clone().oneshot(get()).await.expect("infallible");
    let notebook = Notebook::new(8);
    let limiter = layer.limiter(&Uri::from_static(HERE)).expect("an origin that was talked to");
    limiter.replace_limit(notebook.clone());
    client.oneshot(get()).await.expect("infallible");
    let samples = notebook.read();
    assert_eq!(samples.len(), 1);
    samples[0].outcome
}

fn layer() -> OriginLimitLayer {
    OriginLimitLayer::new("search")
}

#[tokio::test(start_paused = true)]
async fn pushback_is_overload_and_a_time_out_is_a_failure() {
    let head = |status: u16| Response::builder().status(status);
    let grpc = |status: &str| Response::builder().header("grpc-status", status);
    for status in [429, 503] {
        assert_eq!(taught(layer(), head(status)).await, Outcome::Overload, "{status}");
    }
    for status in [408, 500, 502, 504] {
        assert_eq!(taught(layer(), head(status)).await, Outcome::Failure, "{status}");
    }
    for (status, outcome) in
        [("8", Outcome::Overload), ("14", Outcome::Overload), ("4", Outcome::Failure)]
    {
        assert_eq!(taught(layer(), grpc(status)).await, outcome, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_users_takes_a_403_that_says_when_to_come_back_for_pushback() {
    let layer = || {
        layer().classify(|head| {
            let refused = head.status == StatusCode::FORBIDDEN;
            (refused && head.headers.contains_key("retry-after")).then_some(Outcome::Overload)
        })
    };
    let head = || Response::builder().status(403);
    assert_eq!(taught(layer(), head().header("retry-after", "60")).await, Outcome::Overload);
    assert_eq!(taught(layer(), head()).await, Outcome::Success);
    assert_eq!(taught(layer(), head().extension(Outcome::Ignore)).await, Outcome::Ignore);
}
