//! What an operator does to a layer while it runs, and what a service does with pressure.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backpressure_tests::client::text;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, FallbackLayer, Handle, Mode, Pressure, QueueBounds,
    RETURN_TICKET, Reason, Rejected, SHED_REASON, Shed,
};

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
    let layer = AdmissionLayer::fixed("api", 4);
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

#[tokio::test(start_paused = true)]
async fn readiness_outlasts_a_burst_and_ends_with_lasting_overload_or_a_drain() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::new(8, SECOND));
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle().clone());
    let (readiness, patient) = (handle.readiness(), handle.readiness().ignoring_overload());
    // Four times the capacity of 20 a second, for the given number of seconds.
    let overload = async |seconds: u32| {
        let mut running = JoinSet::new();
        let mut answers = Vec::new();
        for n in 0..seconds * 80 {
            running.spawn(service.clone().oneshot(request()));
            sleep(SECOND / 80).await;
            if n % 80 == 79 {
                answers.push((readiness.is_ready(), patient.is_ready()));
            }
        }
        running.join_all().await;
        answers
    };
    let burst = overload(20).await;
    assert!(burst.iter().all(|&(ready, _)| ready), "{burst:?}");
    for _ in 0..10 {
        sleep(SECOND).await;
        assert!(readiness.is_ready());
    }
    let lasting = overload(40).await;
    assert!(lasting[..25].iter().all(|&(ready, _)| ready), "{lasting:?}");
    assert!(lasting[35..].iter().all(|&(ready, _)| !ready), "{lasting:?}");
    assert!(lasting.iter().all(|&(_, patient)| patient));
    let mut ready_after = 0;
    while !readiness.is_ready() {
        sleep(SECOND).await;
        ready_after += 1;
    }
    assert!((5..=8).contains(&ready_after), "{ready_after} s");
    handle.drain();
    assert!(!readiness.is_ready() && !patient.is_ready(), "at once");
    handle.resume();
    assert!(readiness.is_ready() && patient.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_degrades_under_pressure_serves_all_where_one_that_does_not_rejects() {
    // 60 requests a second against a limit of 4: full answers take 100 ms, reduced ones 20 ms.
    let run = async |degrades: bool| {
        let layer = AdmissionLayer::fixed("api", 4)
            .queue(QueueBounds::new(16, SECOND))
            .expose_pressure(true);
        let service = layer.layer(service_fn(move |request: Request<Full<Bytes>>| {
            let pressure = request.extensions().get::<Pressure>().copied().expect("exposed");
            let reduced = degrades && pressure.is_queueing();
            async move {
                sleep(if reduced { WORK / 5 } else { WORK }).await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        }));
        let mut running = JoinSet::new();
        for _ in 0..600 {
            running.spawn(service.clone().oneshot(request()));
            sleep(SECOND / 60).await;
        }
        let responses = running.join_all().await;
        responses.iter().flatten().filter(|response| response.status() == 503).count()
    };
    let (rejected, with_degradation) = (run(false).await, run(true).await);
    println!("rejected {rejected} of 600, and {with_degradation} by a handler that degrades");
    assert!(rejected > 150, "{rejected}");
    assert_eq!(with_degradation, 0);
}

#[tokio::test(start_paused = true)]
async fn pressure_rises_with_permits_in_use_then_with_the_queue_and_is_one_when_requests_are_rejected()
 {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::new(4, 10 * SECOND));
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle());
    let mut running = Vec::new();
    let mut seen = vec![handle.pressure().value()];
    for _ in 0..8 {
        running.push(send(&service, 1).await);
        seen.push(handle.pressure().value());
    }
    assert_eq!(seen, [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]);
    let unqueued = BulkheadLayer::new("payments", 1);
    let _permit = unqueued.limiter().try_acquire();
    assert_eq!(unqueued.handle().pressure().value(), 1.0);
    handle.stop();
    assert_eq!(handle.pressure().value(), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_what_would_be_rejected_and_sees_the_whole_request() {
    static FELL_BACK: AtomicUsize = AtomicUsize::new(0);
    let fallback = service_fn(async |request: Request<Full<Bytes>>| {
        assert!(request.extensions().get::<Shed>().is_none());
        FELL_BACK.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    for bounds in [QueueBounds::NONE, QueueBounds::new(4, WORK / 2)] {
        FELL_BACK.store(0, Ordering::Relaxed);
        let layer = AdmissionLayer::fixed("api", 2).queue(bounds);
        let handle = layer.handle().clone();
        let service = FallbackLayer::new(layer, fallback).layer(service_fn(work));
        let mut running = JoinSet::new();
        for _ in 0..10 {
            running.spawn(service.clone().oneshot(Request::new("cached".into())));
        }
        let responses = running.join_all().await;
        let mut bodies = Vec::new();
        for response in responses.into_iter().flatten() {
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key(SHED_REASON));
            bodies.push(text(response).await);
        }
        bodies.sort_unstable();
        assert_eq!(bodies[..8], vec!["cached"; 8][..], "{bounds:?}");
        assert_eq!(bodies[8..], ["done", "done"]);
        assert_eq!(FELL_BACK.load(Ordering::Relaxed), 8);
        assert_eq!(handle.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_while_the_service_inside_is_not_ready() {
    let fallback = service_fn(async |_| Ok(Response::new(Full::<Bytes>::from("cached"))));
    let inner = tower::limit::ConcurrencyLimit::new(service_fn(work), 1);
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let service = FallbackLayer::new(layer, fallback).layer(inner);
    let running = send(&service, 2).await;
    let start = Instant::now();
    let response = service.oneshot(request()).await.expect("infallible");
    assert_eq!((text(response).await.as_str(), start.elapsed()), ("cached", Duration::ZERO));
    assert_eq!(statuses(running).await, [200; 2]);
    assert_eq!(start.elapsed(), 2 * WORK);
}

#[tokio::test(start_paused = true)]
async fn a_rendered_rejection_keeps_the_headers_that_bring_clients_back_at_the_right_time() {
    let layer = AdmissionLayer::fixed("shop", 1).queue(QueueBounds::NONE).on_reject(|head, _| {
        let language = head.headers.get("accept-language").is_some_and(|it| it == "de");
        let page = if language { "Viel los" } else { "Busy" };
        Response::builder()
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header("retry-after", "0")
            .header("cache-control", "max-age=3600")
            .header("content-type", "text/plain")
            .body(page.into())
            .expect("a response")
    });
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let service = layer.layer(service_fn(work));
    let mut german = request();
    german.headers_mut().insert("accept-language", HeaderValue::from_static("de"));
    let response = service.clone().oneshot(german).await.expect("infallible");
    assert_eq!(response.status(), 429);
    assert_eq!(Rejected::of(&response), Some(Rejected(Reason::Limit)));
    let seconds = response.headers()["retry-after"].to_str().expect("text").parse::<u64>();
    assert!(seconds.is_ok_and(|seconds| seconds >= 1));
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(response.headers()[SHED_REASON], "limit");
    assert!(response.headers().contains_key(RETURN_TICKET));
    assert_eq!(response.body().size_hint().exact(), Some(8));
    assert_eq!(text(response).await, "Viel los");
    let mut call = request();
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let response = service.oneshot(call).await.expect("infallible");
    assert_eq!(response.headers()["grpc-status"], "14", "gRPC has a form of its own");
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_has_a_fallback_too() {
    let fallback = service_fn(async |_| Ok(Response::new(Full::<Bytes>::from("cached"))));
    let layer = FallbackLayer::new(BulkheadLayer::new("payments", 1), fallback);
    let service = layer.layer(service_fn(work));
    let running = send(&service, 1).await;
    let response = service.oneshot(request()).await.expect("infallible");
    assert_eq!(text(response).await, "cached");
    assert_eq!(statuses(running).await, [200]);
}
