//! Which samples a limit receives: one for each attempt of the inner service, with its latency and outcome.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::time::Duration;

use backpressure_tests::recording_limit::RecordingLimit;
use backpressure_tests::scripted_body::{Broken, End, ScriptedBody};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Priority, QueueBounds, Rejected, SHED_REASON, StreamPolicy,
};
use tower_backpressure::{Outcome, Sample};

const WORK: Duration = Duration::from_millis(40);
/// Resolution of tokio's timers, which round up.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

fn recording_layer(limit: usize) -> (AdmissionLayer, RecordingLimit) {
    let recording = RecordingLimit::new(limit);
    (AdmissionLayer::with_limit("api", recording.clone()), recording)
}

fn has_latency(sample: &Sample, expected: Duration) -> bool {
    (expected..=expected + TIMER_RESOLUTION).contains(&sample.latency)
}

/// Responds after [`WORK`] with a body that takes a second.
async fn work(_: Request<()>) -> Result<Response<Channel<Bytes>>, Infallible> {
    sleep(WORK).await;
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for _ in 0..10 {
            sleep(Duration::from_millis(100)).await;
            let _ = sender.send(Frame::data(Bytes::from_static(b"piece"))).await;
        }
    });
    Ok(Response::new(body))
}

#[tokio::test(start_paused = true)]
async fn latency_includes_neither_time_in_the_queue_nor_transfer_of_the_body() {
    let (layer, recording) = recording_layer(1);
    let layer = layer.queue(QueueBounds::new(16, Duration::from_secs(60)));
    let began = Instant::now();
    let requests: Vec<_> = (0..5)
        .map(|_| {
            let service = layer.layer(service_fn(work));
            tokio::spawn(async move {
                let response = service.oneshot(Request::new(())).await.expect("infallible");
                response.into_body().collect().await.expect("a whole body").to_bytes().len()
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic"), 50);
    }
    assert!(
        began.elapsed() >= 5 * (WORK + Duration::from_secs(1)),
        "the requests run one after the other"
    );
    let samples = recording.take_samples();
    assert_eq!(samples.len(), 5);
    assert!(samples.iter().all(|sample| has_latency(sample, WORK)), "{samples:?}");
    assert!(samples.iter().all(|sample| sample.outcome == Outcome::Success));
    assert!(samples.iter().all(|sample| sample.in_flight == 1));
}

/// What is recorded of a request that hangs, whose caller leaves after this time; no response was measured before.
async fn recorded_of_caller_that_leaves_after(patience: Duration) -> Sample {
    let (layer, recording) = recording_layer(4);
    let hanging =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<String>, ()>>()));
    assert!(timeout(patience, hanging.oneshot(Request::new(()))).await.is_err());
    let samples = recording.take_samples();
    assert_eq!(samples.len(), 1);
    assert!(has_latency(&samples[0], patience), "{samples:?}");
    assert_eq!(layer.snapshot().in_flight, 0);
    samples[0]
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_recorded_with_the_time_it_ran() {
    let sample = recorded_of_caller_that_leaves_after(Duration::from_secs(1)).await;
    assert_eq!(sample.outcome, Outcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_caller_leaves_sooner_than_a_response_takes_is_no_evidence() {
    let sample = recorded_of_caller_that_leaves_after(WORK).await;
    assert_eq!(sample.outcome, Outcome::Ignore);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ran_or_panicked_is_not_recorded() {
    let (layer, recording) = recording_layer(4);
    let hanging =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<String>, ()>>()));
    drop(hanging.oneshot(Request::new(())));
    let panicking = layer.layer(service_fn(|_: Request<()>| async {
        sleep(WORK).await;
        std::panic::resume_unwind(Box::new("a deliberate panic"));
        #[expect(unreachable_code, reason = "gives the future its output type")]
        Ok::<_, ()>(Response::new(String::new()))
    }));
    assert!(tokio::spawn(panicking.oneshot(Request::new(()))).await.is_err());
    assert_eq!(recording.take_samples(), []);
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_request_is_not_recorded() {
    let (layer, recording) = recording_layer(1);
    let layer = layer.queue(QueueBounds::new(1, WORK));
    let service =
        layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, ()>(Response::new(String::new())))));
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    for _ in 0..10 {
        let response = service.clone().oneshot(Request::new(())).await.expect("a rejection");
        assert!(response.headers().contains_key(SHED_REASON));
    }
    assert_eq!(recording.take_samples(), []);
}

/// The outcome recorded for a response with this head, or for an error.
async fn recorded_outcome(response: Result<http::response::Builder, ()>) -> Outcome {
    let (layer, recording) = recording_layer(1);
    let response = response.map(|head| head.body(String::new()).expect("a response"));
    let service = layer.layer(service_fn(move |_: Request<()>| ready(response.clone())));
    let _ = service.oneshot(Request::new(())).await;
    let samples = recording.take_samples();
    assert_eq!(samples.len(), 1);
    samples[0].outcome
}

#[tokio::test(start_paused = true)]
async fn no_status_of_a_response_is_recorded_as_overload() {
    let status = |status: u16| Ok(Response::builder().status(status));
    for code in [200, 204, 301, 304, 400, 404, 422] {
        assert_eq!(recorded_outcome(status(code)).await, Outcome::Success, "{code}");
    }
    for code in [408, 429, 499, 500, 501, 502, 503, 504] {
        assert_eq!(recorded_outcome(status(code)).await, Outcome::Failure, "{code}");
    }
    let grpc = |status: &str| Ok(Response::builder().header("grpc-status", status));
    assert_eq!(recorded_outcome(grpc("0")).await, Outcome::Success);
    assert_eq!(recorded_outcome(grpc("5")).await, Outcome::Success);
    assert_eq!(recorded_outcome(grpc("14")).await, Outcome::Failure);
    assert_eq!(recorded_outcome(grpc("13")).await, Outcome::Failure);
    assert_eq!(recorded_outcome(Err(())).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_in_the_extensions_of_a_response_overrides_its_status() {
    for stated in [Outcome::Success, Outcome::Overload, Outcome::Failure, Outcome::Ignore] {
        for code in [200, 500, 503] {
            let response = Response::builder().status(code).extension(stated);
            assert_eq!(recorded_outcome(Ok(response)).await, stated, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_reaches_every_layer_around_it_and_stays_with_a_stream_and_an_upgrade() {
    let heads = [
        Response::builder().status(200),
        Response::builder().status(200).header("content-type", "text/event-stream"),
        Response::builder().status(101),
        Response::builder().status(200).header("grpc-status", "14"),
        Response::builder().status(204),
    ];
    for head in heads {
        let layers = [recording_layer(4), recording_layer(4), recording_layer(4)];
        let response = head.extension(Outcome::Overload).body(String::new()).expect("a response");
        let service =
            service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response.clone())));
        let [(outer, _), (middle, _), (inner, _)] = &layers;
        let middle = middle.clone().streams(StreamPolicy::Watch(8)).expose_permit(true);
        let service = outer.layer(middle.layer(inner.layer(service)));
        let response = service.oneshot(Request::new(())).await.expect("infallible");
        assert_eq!(response.extensions().get(), Some(&Outcome::Overload));
        for (_, recording) in &layers {
            let outcomes: Vec<_> = recording.take_samples().iter().map(|it| it.outcome).collect();
            assert_eq!(outcomes, [Outcome::Overload], "{:?}", response.headers());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_classify_rule_overrides_the_status_of_a_response() {
    let (layer, recording) = recording_layer(1);
    let layer = layer.classify(|head| {
        head.headers.contains_key("x-pool-exhausted").then_some(Outcome::Overload)
    });
    let service = layer.layer(service_fn(|request: Request<bool>| {
        let mut response = Response::builder().status(500);
        if *request.body() {
            response = response.header("x-pool-exhausted", "1");
        }
        ready(Ok::<_, Infallible>(response.body(String::new()).expect("a response")))
    }));
    for exhausted in [true, false] {
        let _ = service.clone().oneshot(Request::new(exhausted)).await.expect("infallible");
    }
    let outcomes: Vec<_> = recording.take_samples().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Overload, Outcome::Failure]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_or_is_dropped_does_not_change_the_recorded_outcome() {
    let (layer, recording) = recording_layer(1);
    for end in [End::Broken, End::Hangs] {
        let service = layer.layer(service_fn(move |_: Request<()>| async move {
            sleep(WORK).await;
            Ok::<_, Broken>(Response::new(ScriptedBody::pieces(1, 10).end(end)))
        }));
        let mut body = service.oneshot(Request::new(())).await.expect("a head").into_body();
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        advance(Duration::from_secs(60)).await;
        if end == End::Broken {
            assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
        }
        drop(body);
        let samples = recording.take_samples();
        assert_eq!(samples.len(), 1, "{end:?}");
        assert_eq!(samples[0].outcome, Outcome::Success);
        assert!(has_latency(&samples[0], WORK), "{samples:?}");
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_an_inner_bulkhead_is_ignored_by_the_outer_limit() {
    let (outer, recording) = recording_layer(8);
    let bulkhead = BulkheadLayer::new("payments", 1);
    let service = outer.layer(bulkhead.layer(service_fn(work)));
    let first = tokio::spawn(service.clone().oneshot(Request::new(())));
    tokio::task::yield_now().await;
    let mut responses = Vec::new();
    for _ in 0..5 {
        responses.push(service.clone().oneshot(Request::new(())).await.expect("infallible"));
    }
    for rejected in responses {
        assert_eq!(rejected.status(), 503);
        // The outer layer admitted the request and cannot know that no handler ran.
        assert!(!rejected.headers().contains_key(SHED_REASON));
        assert!(Rejected::of(&rejected).is_some());
        assert!(rejected.headers().contains_key("retry-after"));
    }
    let outcomes: Vec<_> = recording.take_samples().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ignore; 5]);
    drop(first.await);
    let outcomes: Vec<_> = recording.take_samples().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Success]);
    assert_eq!((outer.snapshot().in_flight, bulkhead.snapshot().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_marker_of_an_upstream_rejection_is_removed() {
    let (layer, recording) = recording_layer(8);
    let forward_upstream_rejection = |_: Request<()>| {
        let upstream = Response::builder().status(503).header(SHED_REASON, "limit");
        let upstream = upstream.header("retry-after", "7").body(String::from("upstream"));
        ready(Ok::<_, Infallible>(upstream.expect("a response")))
    };
    let response =
        layer.layer(service_fn(forward_upstream_rejection)).oneshot(Request::new(())).await;
    let response = response.expect("infallible");
    // This service began the request, so the response must not say that it may be sent again.
    assert!(!response.headers().contains_key(SHED_REASON));
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"7".parse().expect("a value"))
    );
    let outcomes: Vec<_> = recording.take_samples().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failure]);
}

#[tokio::test(start_paused = true)]
async fn queued_requests_run_in_order_of_priority() {
    let (layer, _) = recording_layer(1);
    let layer = layer.queue(QueueBounds::new(16, Duration::from_secs(60)));
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let permit = layer.limiter().try_acquire().expect("a free permit");
    let mut requests = Vec::new();
    for priority in [Priority::Sheddable, Priority::Normal, Priority::Critical, Priority::Normal] {
        let order = std::sync::Arc::clone(&order);
        let service = layer.layer(service_fn(move |_: Request<()>| {
            order.lock().expect("no panic").push(priority);
            ready(Ok::<_, Infallible>(Response::new(String::new())))
        }));
        let mut request = Request::new(());
        request.extensions_mut().insert(priority);
        requests.push(tokio::spawn(service.oneshot(request)));
        tokio::task::yield_now().await;
    }
    assert_eq!(layer.snapshot().queued, 4);
    drop(permit);
    for request in requests {
        let response = request.await.expect("no panic").expect("infallible");
        assert_eq!(response.status(), 200);
    }
    let order = order.lock().expect("no panic").clone();
    assert_eq!(
        order,
        [Priority::Critical, Priority::Normal, Priority::Normal, Priority::Sheddable]
    );
}
