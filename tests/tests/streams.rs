//! Streams count under a policy of their own, and a handler releases or holds its own permit.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_tests::scripted_body::{End, ScriptedBody};
use backpressure_tests::seed::seeded_rng;
use backpressure_tests::server::serve_each;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, HeldPermit, PermitHandle, PermitScope, QueueBounds, SHED_REASON,
    StreamPolicy,
};

const SECOND: Duration = Duration::from_secs(1);

/// `/events` is a stream that never ends, everything else a short response.
async fn serve(request: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    if request.uri().path() != "/events" {
        sleep(SECOND / 100).await;
        return Ok(Response::new(ScriptedBody::pieces(1, 10)));
    }
    let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
    let events = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    Ok(events.body(body).expect("a response"))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).expect("a request")
}

/// Opens streams and reads their first event.
async fn open<S, B>(service: &S, count: usize) -> Vec<Response<B>>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body + Unpin,
{
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = service.clone().oneshot(get("/events")).await.expect("infallible");
        if stream.status() == StatusCode::OK {
            assert!(stream.body_mut().frame().await.is_some());
        }
        streams.push(stream);
    }
    streams
}

fn served<B>(responses: &[Response<B>]) -> usize {
    responses.iter().filter(|response| response.status() == StatusCode::OK).count()
}

/// Short requests, one every 10 ms for five seconds; how many of 500 were served.
async fn short_requests<S, B>(service: &S) -> usize
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Error: Send> + Send + 'static,
    B::Data: Send,
{
    let mut running = JoinSet::new();
    for _ in 0..500 {
        let service = service.clone();
        running.spawn(async move {
            let response = service.oneshot(get("/")).await.expect("infallible");
            let is_served = response.status() == StatusCode::OK;
            response.into_body().collect().await.is_ok_and(|_| is_served)
        });
        sleep(SECOND / 100).await;
    }
    running.join_all().await.into_iter().filter(|&served| served).count()
}

/// The three kinds of limit, each of 8 and without a queue.
fn kinds() -> [AdmissionLayer; 2] {
    [
        AdmissionLayer::fixed("fixed", 8).queue(QueueBounds::NONE),
        AdmissionLayer::adaptive("adaptive").queue(QueueBounds::NONE).max(8),
    ]
}

#[tokio::test(start_paused = true)]
async fn streams_that_watch_take_no_permit_and_have_a_cap_of_their_own() {
    for layer in kinds() {
        let layer = layer.streams(StreamPolicy::Watch(100));
        let service = layer.layer(service_fn(serve));
        let mut streams = open(&service, 130).await;
        assert_eq!(served(&streams), 100);
        assert_eq!((layer.snapshot().in_flight, layer.handle().streams()), (0, 100));
        for rejected in &streams[100..] {
            assert_eq!(rejected.status(), 503);
            assert_eq!(rejected.headers()["retry-after"], "5");
            assert!(!rejected.headers().contains_key(SHED_REASON), "its handler has run");
        }
        assert_eq!(short_requests(&service).await, 500, "{layer:?}");
        streams.truncate(50);
        assert_eq!(layer.handle().streams(), 50);
        assert_eq!(served(&open(&service, 1).await), 1, "a place under the cap is free again");
        drop(streams);
        assert_eq!(layer.handle().streams(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_bounds_streams_and_requests_apart() {
    let layer = BulkheadLayer::new("events", 4).streams(StreamPolicy::Watch(6));
    let service = layer.layer(service_fn(serve));
    let streams = open(&service, 10).await;
    assert_eq!(served(&streams), 6);
    assert_eq!(short_requests(&service).await, 500);
}

#[tokio::test(start_paused = true)]
async fn streams_that_count_to_their_head_only_are_not_bounded() {
    for layer in kinds() {
        let service = layer.streams(StreamPolicy::Head).layer(service_fn(serve));
        let streams = open(&service, 1_000).await;
        assert_eq!(served(&streams), 1_000);
        assert_eq!(short_requests(&service).await, 500);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_work_hold_their_permits() {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::NONE);
    for policy in [None, Some(StreamPolicy::Work)] {
        let layer = policy.map_or(layer.clone(), |policy| layer.clone().streams(policy));
        let streams = open(&layer.layer(service_fn(serve)), 6).await;
        assert_eq!(served(&streams), 4);
        assert_eq!(layer.snapshot().in_flight, 4);
        assert_eq!(streams[5].headers()[SHED_REASON], "limit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cap_on_streams_holds_whatever_the_scope_and_counts_only_in_a_dry_run() {
    let layer = AdmissionLayer::fixed("api", 4).streams(StreamPolicy::Watch(2));
    let scoped = layer.clone().scope(PermitScope::Head);
    let streams = open(&scoped.layer(service_fn(serve)), 3).await;
    assert_eq!(served(&streams), 2);
    drop(streams);
    let streams = open(&layer.dry_run(true).layer(service_fn(serve)), 3).await;
    assert_eq!(served(&streams), 3);
}

#[tokio::test(start_paused = true)]
async fn a_users_rule_tells_streams_that_have_no_type_of_their_own() {
    let layer = AdmissionLayer::fixed("api", 1)
        .streams(StreamPolicy::Watch(10))
        .stream_if(|head| head.uri.path() == "/events");
    let service = layer.layer(service_fn(async |_: Request<()>| {
        let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
        Ok::<_, Infallible>(Response::new(body))
    }));
    assert_eq!(served(&open(&service, 12).await), 10);
}

/// The handle of the request that a handler runs for.
fn permit_of<B>(request: &Request<B>) -> PermitHandle {
    request.extensions().get::<PermitHandle>().cloned().expect("the layer exposes it")
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_that_releases_its_permit_keeps_no_request_out() {
    for layer in kinds() {
        let layer = layer.expose_permit(true);
        let service = layer.layer(service_fn(async |request: Request<()>| {
            let permit = permit_of(&request);
            if request.uri().path() == "/poll" {
                permit.release();
                permit.release();
                sleep(60 * SECOND).await;
            }
            sleep(SECOND / 100).await;
            Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(1, 10)))
        }));
        let mut polls = JoinSet::new();
        for _ in 0..100 {
            polls.spawn(service.clone().oneshot(get("/poll")));
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        assert_eq!(layer.snapshot().in_flight, 0);
        assert_eq!(short_requests(&service).await, 500, "{layer:?}");
        for poll in polls.join_all().await {
            assert_eq!(poll.expect("infallible").status(), 200);
        }
        assert_eq!((layer.snapshot().in_flight, layer.snapshot().apart), (0, 0));
    }
}

/// Holds the permit of its request for ten seconds in a task of its own; responds at once, or never.
async fn spawns_work(request: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    let held = permit_of(&request).hold();
    tokio::spawn(async move {
        sleep(10 * SECOND).await;
        drop(held);
    });
    if request.uri().path() == "/hangs" {
        std::future::pending().await
    }
    Ok(Response::new(ScriptedBody::default()))
}

#[tokio::test(start_paused = true)]
async fn a_held_permit_outlives_its_response_and_its_caller() {
    for layer in kinds() {
        let layer = layer.min(8).expose_permit(true);
        let service = layer.layer(service_fn(spawns_work));
        for _ in 0..4 {
            let response = service.clone().oneshot(get("/")).await.expect("infallible");
            assert_eq!(response.status(), 200);
            let hangs = service.clone().oneshot(get("/hangs"));
            assert!(timeout(SECOND / 10, hangs).await.is_err(), "its caller leaves");
        }
        for second in 1..9 {
            let now = layer.snapshot();
            assert_eq!((now.in_flight, now.apart), (8, 0), "at {second} s: it counts all the time");
            let rejected = service.clone().oneshot(get("/")).await.expect("infallible");
            assert_eq!(rejected.status(), 503, "the work that was spawned is bounded");
            sleep(SECOND).await;
        }
        sleep(2 * SECOND).await;
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

#[tokio::test]
async fn blocking_work_that_outlives_its_caller_is_bounded() {
    let layer = BulkheadLayer::new("compute", 2).expose_permit(true);
    let (started, finish) =
        (std::sync::mpsc::channel(), std::sync::Arc::new(std::sync::Barrier::new(3)));
    let (sender, barrier) = (started.0, std::sync::Arc::clone(&finish));
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let (held, sender) = (permit_of(&request).hold(), sender.clone());
        let barrier = std::sync::Arc::clone(&barrier);
        tokio::task::spawn_blocking(move || {
            sender.send(()).expect("the test waits");
            barrier.wait();
            drop(held);
        });
        std::future::pending::<Result<Response<ScriptedBody>, Infallible>>()
    }));
    let mut abandoned: Vec<_> =
        (0..2).map(|_| tokio::spawn(service.clone().oneshot(get("/")))).collect();
    for _ in 0..2 {
        while started.1.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }
    abandoned.iter().for_each(tokio::task::JoinHandle::abort);
    for task in abandoned.drain(..) {
        let _ = task.await;
    }
    assert_eq!(layer.snapshot().in_flight, 2);
    assert_eq!(service.oneshot(get("/")).await.expect("infallible").status(), 503);
    tokio::task::spawn_blocking(move || finish.wait()).await.expect("no panic");
    layer.handle().drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_streams_and_waits_for_them() {
    let layer = AdmissionLayer::fixed("api", 4).streams(StreamPolicy::Watch(10));
    let handle = layer.handle().clone();
    let service = layer.layer(service_fn(serve));
    let mut watchers = JoinSet::new();
    for stream in open(&service, 10).await {
        let handle = handle.clone();
        watchers.spawn(async move {
            handle.stopping().await;
            sleep(3 * SECOND).await;
            drop(stream);
        });
    }
    sleep(SECOND).await;
    let start = Instant::now();
    handle.drain();
    handle.drained().await;
    assert_eq!(start.elapsed().as_secs(), 3);
    timeout(Duration::ZERO, handle.stopping())
        .await
        .expect("a stream that opens now is told at once");
}

/// A WebSocket in all that matters here: echoes bytes on the upgraded connection until it is closed.
async fn upgrades(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let held = permit_of(&request).hold();
    let upgraded = upgrade::on(&mut request);
    tokio::spawn(async move {
        let _held: HeldPermit = held;
        if let Ok(connection) = upgraded.await {
            let io = hyper_util::rt::TokioIo::new(connection);
            let (mut reader, mut writer) = tokio::io::split(io);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "echo");
    Ok(response.body(Empty::new()).expect("a response"))
}

#[tokio::test]
async fn an_upgraded_connection_holds_its_permit_or_its_place_as_a_stream_to_its_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits = [
        BulkheadLayer::new("sockets", 2).expose_permit(true),
        BulkheadLayer::new("sockets", 9).expose_permit(true).streams(StreamPolicy::Watch(2)),
    ];
    for layer in limits {
        let address = serve_each(layer.clone(), service_fn(upgrades)).await;
        let upgrade = async || {
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let head =
                "GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
            socket.write_all(head.as_bytes()).await.expect("the server reads");
            let head = backpressure_tests::raw_http1::read_head(&mut socket).await;
            (socket, head)
        };
        let (mut first, head) = upgrade().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let (second, head) = upgrade().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let (rejected, head) = upgrade().await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        first.write_all(b"ping").await.expect("the connection is open");
        let mut echo = [0; 4];
        first.read_exact(&mut echo).await.expect("it echoes");
        assert_eq!(&echo, b"ping");
        drop(first);
        // The server sees the end of the connection when it reads.
        let third = async {
            loop {
                let (socket, head) = upgrade().await;
                if head.starts_with("HTTP/1.1 101") {
                    return socket;
                }
                tokio::task::yield_now().await;
            }
        };
        let third = timeout(30 * SECOND, third).await.expect("a place is free again");
        drop((second, rejected, third));
        timeout(30 * SECOND, layer.handle().drained()).await.expect("all have ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_without_a_permit_or_after_the_head_does_nothing() {
    let layer = AdmissionLayer::fixed("api", 1)
        .expose_permit(true)
        .exempt(|head| head.method == Method::OPTIONS);
    let (sender, mut handles) = mpsc::unbounded_channel();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        sender.send(permit_of(&request)).expect("the test waits");
        std::future::ready(Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(2, 10))))
    }));
    let exempt = Request::builder().method(Method::OPTIONS).body(()).expect("a request");
    let response = service.clone().oneshot(exempt).await.expect("infallible");
    let handle = handles.recv().await.expect("a request came");
    handle.release();
    drop(handle.hold());
    drop(response);
    let response = service.clone().oneshot(get("/")).await.expect("infallible");
    let handle = handles.recv().await.expect("a request came");
    handle.release();
    let held = handle.hold();
    assert_eq!(layer.snapshot().in_flight, 1, "the body holds it");
    drop(response);
    assert_eq!(layer.snapshot().in_flight, 0);
    drop((held, handle));
    assert_eq!(service.oneshot(get("/")).await.expect("infallible").status(), 200);
}

/// What a handler does with its permit, and how it ends.
#[derive(Clone, Copy)]
struct Script {
    holds: bool,
    releases: bool,
    end: u8,
}

async fn play(
    script: Script,
    handle: PermitHandle,
    holds: mpsc::UnboundedSender<HeldPermit>,
) -> Result<Response<ScriptedBody>, &'static str> {
    if script.holds {
        let _ = holds.send(handle.hold());
    }
    if script.releases {
        handle.release();
    }
    tokio::task::yield_now().await;
    match script.end {
        0 => resume_unwind(Box::new("a deliberate panic")),
        1 => Err("no"),
        2 => Ok(Response::new(ScriptedBody::pieces(2, 10))),
        _ => {
            let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
            let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
            Ok(response.body(body).expect("a response"))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permits_and_streams_return_however_requests_and_their_handles_end() {
    const REQUESTS: usize = 100_000;
    let (seed, mut rng) = seeded_rng();
    println!("seed {seed}");
    let layers = kinds().map(|layer| {
        layer.queue(QueueBounds::default()).expose_permit(true).streams(StreamPolicy::Watch(20))
    });
    for layer in layers {
        let (sender, mut holds) = mpsc::unbounded_channel();
        let (mut held, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            let script = Script { holds: rng.bool(), releases: rng.bool(), end: rng.u8(..4) };
            let sender = sender.clone();
            let service = layer.layer(service_fn(move |request: Request<()>| {
                play(script, permit_of(&request), sender.clone())
            }));
            let mut future = pin!(service.oneshot(get("/")));
            let cx = &mut Context::from_waker(Waker::noop());
            // Dropped after so many polls, ended or not.
            for _ in 0..rng.u8(..8) {
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => continue,
                    Ok(Poll::Ready(Ok(response))) => bodies.push(response),
                    Ok(Poll::Ready(Err(_))) | Err(_) => {}
                }
                break;
            }
            held.extend(holds.try_recv().ok());
            if rng.u8(..8) == 0 || bodies.len() > 5 {
                held.truncate(rng.usize(..=held.len()));
                bodies.truncate(rng.usize(..=bodies.len()));
            }
        }
        drop((held, bodies));
        let now = layer.snapshot();
        assert_eq!((now.in_flight, now.apart, now.queued), (0, 0, 0), "{layer:?}");
        assert_eq!(layer.handle().streams(), 0);
        let response = layer.layer(service_fn(serve)).oneshot(get("/")).await.expect("infallible");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_of_connect_is_a_stream_and_its_refusal_is_none() {
    let layer = AdmissionLayer::fixed("proxy", 1).streams(StreamPolicy::Watch(1));
    let service = layer.layer(service_fn(async |request: Request<u16>| {
        let body = ScriptedBody::pieces(1, 1).end(End::Hangs);
        let response = Response::builder().status(request.into_body()).version(Version::HTTP_2);
        Ok::<_, Infallible>(response.body(body).expect("a response"))
    }));
    let connect = |status: u16| {
        let request = Request::builder().method(Method::CONNECT).uri("host:443");
        service.clone().oneshot(request.body(status).expect("a request"))
    };
    let refused = connect(403).await.expect("infallible");
    assert_eq!((layer.snapshot().in_flight, layer.handle().streams()), (1, 0));
    drop(refused);
    let _tunnel = connect(200).await.expect("infallible");
    assert_eq!((layer.snapshot().in_flight, layer.handle().streams()), (0, 1));
    assert_eq!(connect(200).await.expect("infallible").status(), 503);
}
