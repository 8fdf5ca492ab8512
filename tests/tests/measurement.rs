//! A limit is taught what attempts cost, and nothing else.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::time::Duration;

use backpressure_tests::samples::Notebook;
use backpressure_tests::script::{Broken, End, Script};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Priority, QueueBounds, SHED_REASON, Shed};
use tower_backpressure::{Outcome, Sample};

const WORK: Duration = Duration::from_millis(40);
/// tokio's timers count in milliseconds, and round up.
const TICK: Duration = Duration::from_millis(1);

fn learning(limit: usize) -> (AdmissionLayer, Notebook) {
    let notebook = Notebook::new(limit);
    (AdmissionLayer::with_limit("api", notebook.clone()), notebook)
}

fn is_about(sample: &Sample, expected: Duration) -> bool {
    (expected..=expected + TICK).contains(&sample.latency)
}

/// Works for [`WORK`], then sends a body for a second.
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
async fn neither_waiting_nor_streaming_counts_as_latency() {
    let (layer, notebook) = learning(1);
    let layer = layer.queue(QueueBounds::new(16, Duration::from_secs(60)));
    let began = Instant::now();
    let requests: Vec<_> = (0..5)
        .map(|_| {
            let service = layer.layer(service_fn(work));
            tokio::spawn(async move {
                let answer = service.oneshot(Request::new(())).await.expect("infallible");
                answer.into_body().collect().await.expect("a whole body").to_bytes().len()
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic"), 50);
    }
    assert!(began.elapsed() >= 5 * (WORK + Duration::from_secs(1)), "one after the other");
    let samples = notebook.read();
    assert_eq!(samples.len(), 5);
    assert!(samples.iter().all(|sample| is_about(sample, WORK)), "{samples:?}");
    assert!(samples.iter().all(|sample| sample.outcome == Outcome::Success));
    assert!(samples.iter().all(|sample| sample.in_flight == 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_teaches_how_long_it_took_at_least() {
    let (layer, notebook) = learning(4);
    let hanging =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<String>, ()>>()));
    assert!(timeout(WORK, hanging.oneshot(Request::new(()))).await.is_err());
    let samples = notebook.read();
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].outcome, Outcome::Cancelled);
    assert!(is_about(&samples[0], WORK), "{samples:?}");
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_begun_or_died_teaches_nothing() {
    let (layer, notebook) = learning(4);
    let hanging =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<String>, ()>>()));
    drop(hanging.oneshot(Request::new(())));
    let dying = layer.layer(service_fn(|_: Request<()>| async {
        sleep(WORK).await;
        std::panic::resume_unwind(Box::new("as ordered"));
        #[expect(unreachable_code, reason = "says what the future would be")]
        Ok::<_, ()>(Response::new(String::new()))
    }));
    assert!(tokio::spawn(dying.oneshot(Request::new(()))).await.is_err());
    assert_eq!(notebook.read(), []);
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_teaches_nothing() {
    let (layer, notebook) = learning(1);
    let layer = layer.queue(QueueBounds::new(1, WORK));
    let service =
        layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, ()>(Response::new(String::new())))));
    let _full = layer.limiter().try_acquire().expect("room for one");
    for _ in 0..10 {
        let answer = service.clone().oneshot(Request::new(())).await.expect("a refusal");
        assert!(answer.headers().contains_key(SHED_REASON));
    }
    assert_eq!(notebook.read(), []);
}

/// What a service that answers like this teaches.
async fn taught(answer: Result<http::response::Builder, ()>) -> Outcome {
    let (layer, notebook) = learning(1);
    let answer = answer.map(|head| head.body(String::new()).expect("a response"));
    let service = layer.layer(service_fn(move |_: Request<()>| ready(answer.clone())));
    let _ = service.oneshot(Request::new(())).await;
    let samples = notebook.read();
    assert_eq!(samples.len(), 1);
    samples[0].outcome
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_success_or_failure_and_never_overload_by_its_status() {
    let status = |status: u16| Ok(Response::builder().status(status));
    for code in [200, 204, 301, 304, 400, 404, 422] {
        assert_eq!(taught(status(code)).await, Outcome::Success, "{code}");
    }
    for code in [408, 429, 499, 500, 501, 502, 503, 504] {
        assert_eq!(taught(status(code)).await, Outcome::Failure, "{code}");
    }
    let grpc = |status: &str| Ok(Response::builder().header("grpc-status", status));
    assert_eq!(taught(grpc("0")).await, Outcome::Success);
    assert_eq!(taught(grpc("5")).await, Outcome::Success);
    assert_eq!(taught(grpc("14")).await, Outcome::Failure);
    assert_eq!(taught(grpc("13")).await, Outcome::Failure);
    assert_eq!(taught(Err(())).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_in_the_extensions_of_a_response_is_believed() {
    for stated in [Outcome::Success, Outcome::Overload, Outcome::Failure, Outcome::Ignore] {
        for code in [200, 500, 503] {
            let answer = Response::builder().status(code).extension(stated);
            assert_eq!(taught(Ok(answer)).await, stated, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_users_decides_what_a_response_teaches() {
    let (layer, notebook) = learning(1);
    let layer = layer.classify(|head| {
        head.headers.contains_key("x-pool-exhausted").then_some(Outcome::Overload)
    });
    let service = layer.layer(service_fn(|request: Request<bool>| {
        let mut answer = Response::builder().status(500);
        if *request.body() {
            answer = answer.header("x-pool-exhausted", "1");
        }
        ready(Ok::<_, Infallible>(answer.body(String::new()).expect("a response")))
    }));
    for exhausted in [true, false] {
        let _ = service.clone().oneshot(Request::new(exhausted)).await.expect("infallible");
    }
    let outcomes: Vec<_> = notebook.read().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Overload, Outcome::Failure]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_or_is_dropped_takes_nothing_back() {
    let (layer, notebook) = learning(1);
    for end in [End::Broken, End::Hangs] {
        let service = layer.layer(service_fn(move |_: Request<()>| async move {
            sleep(WORK).await;
            Ok::<_, Broken>(Response::new(Script::pieces(1, 10).end(end)))
        }));
        let mut body = service.oneshot(Request::new(())).await.expect("a head").into_body();
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        advance(Duration::from_secs(60)).await;
        if end == End::Broken {
            assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
        }
        drop(body);
        let samples = notebook.read();
        assert_eq!(samples.len(), 1, "{end:?}");
        assert_eq!(samples[0].outcome, Outcome::Success);
        assert!(is_about(&samples[0], WORK), "{samples:?}");
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_bulkhead_refuses_teaches_the_limit_around_it_nothing() {
    let (outer, notebook) = learning(8);
    let bulkhead = BulkheadLayer::new("payments", 1);
    let service = outer.layer(bulkhead.layer(service_fn(work)));
    let first = tokio::spawn(service.clone().oneshot(Request::new(())));
    tokio::task::yield_now().await;
    let mut requests = Vec::new();
    for _ in 0..5 {
        requests.push(service.clone().oneshot(Request::new(())).await.expect("infallible"));
    }
    for refused in requests {
        assert_eq!(refused.status(), 503);
        // The outer layer admitted it, and cannot know that no handler ran.
        assert!(!refused.headers().contains_key(SHED_REASON));
        assert!(refused.extensions().get::<Shed>().is_none());
        assert!(refused.headers().contains_key("retry-after"));
    }
    let outcomes: Vec<_> = notebook.read().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ignore; 5]);
    drop(first.await);
    let outcomes: Vec<_> = notebook.read().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Success]);
    assert_eq!((outer.snapshot().in_flight, bulkhead.snapshot().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_from_somewhere_else_loses_its_marker() {
    let (layer, notebook) = learning(8);
    let forwards = |_: Request<()>| {
        let theirs = Response::builder().status(503).header(SHED_REASON, "limit");
        let theirs = theirs.header("retry-after", "7").body(String::from("theirs"));
        ready(Ok::<_, Infallible>(theirs.expect("a response")))
    };
    let answer = layer.layer(service_fn(forwards)).oneshot(Request::new(())).await;
    let answer = answer.expect("infallible");
    // This service did begin the request, so it must not say that it may be sent again.
    assert!(!answer.headers().contains_key(SHED_REASON));
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"7".parse().expect("a value"))
    );
    let outcomes: Vec<_> = notebook.read().iter().map(|sample| sample.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failure]);
}

#[tokio::test(start_paused = true)]
async fn who_matters_more_runs_first() {
    let (layer, _) = learning(1);
    let layer = layer.queue(QueueBounds::new(16, Duration::from_secs(60)));
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let full = layer.limiter().try_acquire().expect("room for one");
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
    drop(full);
    for request in requests {
        let answer = request.await.expect("no panic").expect("infallible");
        assert_eq!(answer.status(), 200);
    }
    let order = order.lock().expect("no panic").clone();
    assert_eq!(
        order,
        [Priority::Critical, Priority::Normal, Priority::Normal, Priority::Sheddable]
    );
}
