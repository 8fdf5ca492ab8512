//! A process that is suspended, as by SIGSTOP or with its virtual machine, while an operator drains or pauses it.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::scripted_body::{End, ScriptedBody};
use http::{Request, Response, StatusCode, header};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, StreamPolicy};

const SECOND: Duration = Duration::from_secs(1);
const SUSPENDED: Duration = Duration::from_secs(3_600);

/// `/events`: a stream that never ends. Others take 300 ms.
async fn work(request: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    if request.uri().path() == "/events" {
        let events = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
        return Ok(events.body(body).expect("a response"));
    }
    sleep(Duration::from_millis(300)).await;
    Ok(Response::new(ScriptedBody::default()))
}

fn request(path: &str) -> Request<()> {
    Request::builder().uri(path).body(()).expect("a request")
}

/// Sends requests at once; their statuses as they come.
async fn send(layer: &AdmissionLayer, count: usize) -> JoinSet<StatusCode> {
    let service = layer.layer(service_fn(work));
    let mut running = JoinSet::new();
    for _ in 0..count {
        let response = service.clone().oneshot(request("/"));
        running.spawn(async move { response.await.expect("infallible").status() });
    }
    tokio::task::yield_now().await;
    running
}

fn layers() -> [AdmissionLayer; 3] {
    [
        AdmissionLayer::fixed("fixed", 4),
        AdmissionLayer::fixed("no queue", 4).queue(QueueBounds::NONE),
        AdmissionLayer::adaptive("adaptive"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_a_suspension_outlasts_ends_with_it_and_every_request_that_waited_is_answered()
{
    for layer in layers() {
        layer.handle().pause(5 * SECOND);
        let waiting = send(&layer, 12).await;
        sleep(2 * SECOND).await;
        advance(SUSPENDED).await;
        let answers = timeout(10 * SECOND, waiting.join_all()).await.expect("all are answered");
        assert_eq!(answers.len(), 12);
        let after = send(&layer, 4).await.join_all().await;
        assert!(after.iter().all(|&it| it == StatusCode::OK), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_suspended_ends_soon_after_and_everything_that_waited_is_answered() {
    for layer in layers() {
        let layer = layer.streams(StreamPolicy::Watch(8));
        let handle = layer.handle().clone();
        let service = layer.layer(service_fn(work));
        let stream = service.oneshot(request("/events")).await.expect("infallible");
        let ended = tokio::spawn({
            let handle = handle.clone();
            async move {
                handle.stopping().await;
                drop(stream);
            }
        });
        let running = send(&layer, 4).await;
        let more = send(&layer, 8).await;
        handle.drain();
        advance(SUSPENDED).await;
        let resumed = Instant::now();
        timeout(10 * SECOND, handle.drained()).await.expect("nothing is left");
        ended.await.expect("no panic");
        assert!(running.join_all().await.iter().all(|&it| it == StatusCode::OK));
        assert_eq!(more.join_all().await.len(), 8, "each has an answer");
        assert!(resumed.elapsed() < 10 * SECOND);
        let rejected = send(&layer, 1).await.join_all().await;
        assert_eq!(rejected, [StatusCode::SERVICE_UNAVAILABLE]);
        handle.resume();
        assert_eq!(send(&layer, 1).await.join_all().await, [StatusCode::OK]);
    }
}
