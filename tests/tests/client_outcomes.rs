//! The outcome that a limit per origin records for each response of a server.

use std::convert::Infallible;
use std::future::ready;

use backpressure_tests::recording_limit::RecordingLimit;
use http::{Request, Response, StatusCode, Uri};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{OriginLimitLayer, Outcome};

const ORIGIN: &str = "http://here/";

/// The outcome recorded for a response with this head.
async fn recorded_outcome(layer: OriginLimitLayer, head: http::response::Builder) -> Outcome {
    let response = head.body(String::new()).expect("a response");
    let client =
        layer.layer(service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response.clone()))));
    let get = || Request::get(ORIGIN).body(()).expect("a request");
    client.clone().oneshot(get()).await.expect("infallible");
    let recording = RecordingLimit::new(8);
    let limiter = layer.limiter(&Uri::from_static(ORIGIN)).expect("a known origin");
    limiter.replace_limit(recording.clone());
    client.oneshot(get()).await.expect("infallible");
    let samples = recording.take_samples();
    assert_eq!(samples.len(), 1);
    samples[0].outcome
}

fn layer() -> OriginLimitLayer {
    OriginLimitLayer::new("search")
}

#[tokio::test(start_paused = true)]
async fn pushback_is_recorded_as_overload_and_a_time_out_as_a_failure() {
    let head = |status: u16| Response::builder().status(status);
    let grpc = |status: &str| Response::builder().header("grpc-status", status);
    for status in [429, 503] {
        assert_eq!(recorded_outcome(layer(), head(status)).await, Outcome::Overload, "{status}");
    }
    for status in [408, 500, 502, 504] {
        assert_eq!(recorded_outcome(layer(), head(status)).await, Outcome::Failure, "{status}");
    }
    for (status, outcome) in
        [("8", Outcome::Overload), ("14", Outcome::Overload), ("4", Outcome::Failure)]
    {
        assert_eq!(recorded_outcome(layer(), grpc(status)).await, outcome, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_classify_rule_can_record_a_403_with_retry_after_as_overload() {
    let layer = || {
        layer().classify(|head| {
            let forbidden = head.status == StatusCode::FORBIDDEN;
            (forbidden && head.headers.contains_key("retry-after")).then_some(Outcome::Overload)
        })
    };
    let head = || Response::builder().status(403);
    assert_eq!(
        recorded_outcome(layer(), head().header("retry-after", "60")).await,
        Outcome::Overload
    );
    assert_eq!(recorded_outcome(layer(), head()).await, Outcome::Success);
    assert_eq!(recorded_outcome(layer(), head().extension(Outcome::Ignore)).await, Outcome::Ignore);
}
