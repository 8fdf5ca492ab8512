//! What an operator does to a layer while it runs, and what a service does with pressure.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Handle, Mode, QueueBounds, SHED_REASON};

mod instead_of_rejections;
mod pressure;

const SECOND: Duration = Duration::from_secs(1);
const WORK: Duration = Duration::from_millis(100);

async fn work(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    sleep(WORK).await;
    Ok(Response::new("done".into()))
}

fn request() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

/// Sends requests at once, each in a task of its own, and lets them arrive.
async fn send<S, B>(service: &S, count: usize) -> JoinSet<Response<()>>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let mut running = JoinSet::new();
    for _ in 0..count {
        let service = service.clone();
        running.spawn(
            async move { service.oneshot(request()).await.expect("infallible").map(|_| ()) },
        );
    }
    tokio::task::yield_now().await;
    running
}

async fn statuses(running: JoinSet<Response<()>>) -> Vec<u16> {
    running.join_all().await.iter().map(|response| response.status().as_u16()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pause_rejects_no_request_and_starts_none_until_its_end() {
    // Of three kinds: with a queue, without one, and adaptive.
    let layers = [
        AdmissionLayer::fixed("queue", 4),
        AdmissionLayer::fixed("none", 4).queue(QueueBounds::NONE),
        AdmissionLayer::adaptive("adaptive"),
    ];
    for (layer, resumes) in layers.into_iter().flat_map(|it| [(it.clone(), false), (it, true)]) {
        let (service, handle) = (layer.layer(service_fn(work)), layer.handle().clone());
        let running = send(&service, 4).await;
        handle.pause(5 * SECOND);
        let start = Instant::now();
        let waiting = send(&service, 36).await;
        sleep(2 * SECOND).await;
        let now = handle.snapshot();
        assert_eq!((now.in_flight, now.queued), (0, 36), "{}", handle.name());
        assert!(statuses(running).await.iter().all(|&status| status == 200));
        if resumes {
            handle.resume();
        }
        let served = statuses(waiting).await;
        assert!(served.iter().all(|&status| status == 200), "{}: {served:?}", handle.name());
        let paused = if resumes { 2 * SECOND } else { 5 * SECOND };
        assert!(start.elapsed() >= paused, "{}", handle.name());
        assert!(start.elapsed() < paused + SECOND, "{}", handle.name());
        assert_eq!(handle.snapshot().mode, Mode::Admitting);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_bounded_in_length_and_in_requests() {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::new(16, SECOND));
    let service = layer.layer(service_fn(work));
    layer.handle().pause(Duration::MAX);
    let mut running = send(&service, 1_100).await;
    let rejected = running.join_next().await.expect("one of the last").expect("no panic");
    assert_eq!(rejected.headers()[SHED_REASON], "queue-full");
    assert_eq!(layer.snapshot().queued, 1_024);
    let late = {
        let mut request = request();
        request.extensions_mut().insert(tower_backpressure::Deadline(Instant::now() + SECOND));
        layer.handle().resume();
        layer.handle().pause(60 * SECOND);
        running.abort_all();
        while running.join_next().await.is_some() {}
        service.oneshot(request).await.expect("infallible")
    };
    assert_eq!(late.headers()[SHED_REASON], "deadline", "its caller does not wait for the end");
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_rejects_new_and_queued_requests_and_serves_those_in_flight() {
    let layer = AdmissionLayer::fixed("api", 4);
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle().clone());
    let (running, queued) = (send(&service, 4).await, send(&service, 10).await);
    handle.stop();
    let start = Instant::now();
    let new = send(&service, 3).await;
    let rejected = queued.join_all().await.into_iter().chain(new.join_all().await);
    for response in rejected {
        assert_eq!(response.headers()[SHED_REASON], "stopped");
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["connection"], "close");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(statuses(running).await, [200; 4]);
    let mut over_http2 = request();
    *over_http2.version_mut() = Version::HTTP_2;
    let response = service.clone().oneshot(over_http2).await.expect("infallible");
    assert!(!response.headers().contains_key("connection"), "HTTP/2 forbids it");
    handle.resume();
    assert_eq!(statuses(send(&service, 4).await).await, [200; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_serves_what_is_there_rejects_what_comes_and_resolves_when_empty() {
    let layer = AdmissionLayer::adaptive("api").exempt(|head| head.uri.path() == "/stream");
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle().clone());
    timeout(Duration::ZERO, handle.drained()).await.expect("nothing is in flight");
    let running = send(&service, 50).await;
    let exempt = {
        let (service, mut stream) = (service.clone(), request());
        *stream.uri_mut() = "/stream".parse().expect("a path");
        tokio::spawn(async move {
            let response = service.oneshot(stream).await.expect("infallible");
            sleep(3 * SECOND).await;
            drop(response);
        })
    };
    tokio::task::yield_now().await;
    handle.drain();
    let late = service.clone().oneshot(request()).await.expect("infallible");
    assert_eq!(
        (late.status().as_u16(), &late.headers()["connection"]),
        (503, &"close".parse::<HeaderValue>().expect("a value"))
    );
    timeout(SECOND, handle.drained()).await.expect_err("an exempt request is in flight");
    assert!(statuses(running).await.iter().all(|&status| status == 200));
    exempt.await.expect("no panic");
    timeout(SECOND, handle.drained()).await.expect("all have ended");
    handle.resume();
    assert_eq!(statuses(send(&service, 1).await).await, [200]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_holds_in_a_dry_run_and_a_dry_run_can_be_switched_on_and_off() {
    let layer = BulkheadLayer::new("payments", 1).dry_run(true);
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle().clone());
    assert_eq!(statuses(send(&service, 5).await).await, [200; 5]);
    handle.stop();
    assert_eq!(statuses(send(&service, 2).await).await, [503; 2]);
    handle.resume();
    handle.pause(SECOND);
    let start = Instant::now();
    assert_eq!(statuses(send(&service, 1).await).await, [200]);
    assert_eq!(start.elapsed(), SECOND + WORK);
    handle.set_dry_run(false);
    let mut answers = statuses(send(&service, 5).await).await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 503, 503, 503, 503]);
    handle.set_dry_run(true);
    assert_eq!(statuses(send(&service, 5).await).await, [200; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_limit_stays_and_finds_its_bounds_again() {
    let layer = AdmissionLayer::adaptive("pinned").min(2).max(500);
    let handle = Handle::named("pinned").expect("the layer exists");
    handle.pin(7);
    handle.pin(9);
    assert_eq!(layer.snapshot().limit, 9);
    handle.set_min(20);
    assert_eq!(layer.snapshot().limit, 9, "bounds wait for the end of the pin");
    handle.unpin();
    handle.unpin();
    assert_eq!(layer.limiter().limit_bounds(), (20, 500));
    handle.set_max(10);
    assert_eq!(layer.limiter().limit_bounds(), (10, 10));
    handle.set_min(0);
    handle.set_max(usize::MAX);
    assert_eq!(layer.limiter().limit_bounds(), (1, 1_000_000), "numbers are clamped");
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_found_by_name_for_as_long_as_a_layer_or_service_lives() {
    let service = AdmissionLayer::fixed("short-lived", 4).layer(service_fn(work));
    let handle = Handle::named("short-lived").expect("a service lives");
    assert!(Handle::all().iter().any(|it| it.name() == "short-lived"));
    drop(handle);
    assert!(Handle::named("short-lived").is_some());
    drop(service);
    assert!(Handle::named("short-lived").is_none());
    assert!(Handle::named("never-made").is_none());
}
