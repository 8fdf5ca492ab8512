//! Permits behind HTTP/2 connections that misbehave, over pipes in memory and in virtual time.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, QueueLayer};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// What a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;

type BoxedBody = UnsyncBoxBody<Bytes, Infallible>;

/// A body that panics after its first frame.
struct Panics(Option<Bytes>);

impl Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame =
            self.0.take().unwrap_or_else(|| std::panic::resume_unwind(Box::new("deliberate")));
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

/// `/long`: ten megabytes. `/panics`: a body that panics. Others take 5 ms.
async fn handle(request: Request<Incoming>) -> Result<Response<BoxedBody>, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(Response::new(match path.as_str() {
        "/long" => ScriptedBody::pieces(160, 64 * 1024).map_err(|_| unreachable!()).boxed_unsync(),
        "/panics" => Panics(Some("first".into())).boxed_unsync(),
        _ => {
            sleep(5 * MILLISECOND).await;
            Full::from("served").boxed_unsync()
        }
    }))
}

/// Opens a connection to a server with this layer; `window`: the window of each of its streams.
async fn connect<B>(layer: &AdmissionLayer, window: Option<u32>) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let service = TowerToHyperService::new(layer.layer(service_fn(handle)));
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(server), service).await;
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).initial_stream_window_size(window);
    let (sender, driver) = builder.handshake(TokioIo::new(client)).await.expect("a handshake");
    tokio::spawn(async { drop(driver.await) });
    sender
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://here{path}")).body(Full::default()).expect("a request")
}

/// Sends short requests, one each 10 ms; how many were served.
async fn short_requests(mut sender: SendRequest<Full<Bytes>>, count: usize) -> usize {
    let mut running = JoinSet::new();
    for _ in 0..count {
        sender.ready().await.expect("the connection is open");
        let response = sender.send_request(get("/"));
        running.spawn(async move {
            let response = response.await.expect("a response");
            let is_served = response.status() == StatusCode::OK;
            response.into_body().collect().await.is_ok_and(|_| is_served)
        });
        sleep(10 * MILLISECOND).await;
    }
    running.join_all().await.into_iter().filter(|&served| served).count()
}

#[tokio::test(start_paused = true)]
async fn readers_that_open_no_window_keep_a_fixed_limit_for_ten_seconds_at_most() {
    let layer = AdmissionLayer::fixed("api", 8).queue(QueueBounds::NONE);
    let mut stalled = connect::<Full<Bytes>>(&layer, Some(0)).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        stalled.ready().await.expect("the connection is open");
        held.push(stalled.send_request(get("/long")).await.expect("a head"));
    }
    let mut other = connect(&layer, None).await;
    let start = Instant::now();
    while other.send_request(get("/")).await.expect("a response").status() != StatusCode::OK {
        sleep(100 * MILLISECOND).await;
    }
    assert!(start.elapsed() <= 11 * SECOND, "{:?}", start.elapsed());
    assert_eq!(short_requests(other, 100).await, 100);
    drop((held, stalled));
    timeout(SECOND, layer.handle().drained()).await.expect("all have ended");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_ends_its_stream_alone_and_returns_its_permit() {
    for layer in [AdmissionLayer::fixed("fixed", 8), AdmissionLayer::adaptive("adaptive")] {
        let mut sender = connect(&layer, None).await;
        for _ in 0..100 {
            let response = sender.send_request(get("/panics")).await.expect("a head");
            assert!(response.into_body().collect().await.is_err());
        }
        assert_eq!(short_requests(sender, 100).await, 100);
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

/// A client that resets each of its requests as soon as it is sent, for four seconds.
async fn reset_at_once(layer: AdmissionLayer) -> usize {
    let (mut resets, start) = (0, Instant::now());
    let mut sender = connect(&layer, None).await;
    while start.elapsed() < 4 * SECOND {
        if sender.ready().await.is_err() {
            // Told to calm down: it comes again.
            sender = connect(&layer, None).await;
            continue;
        }
        let request = tokio::spawn(sender.send_request(get("/")));
        sleep(MILLISECOND / 2).await;
        request.abort();
        resets += 1;
    }
    resets
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_reset_at_once_take_nothing_from_others_and_leave_no_permit() {
    for layer in [
        AdmissionLayer::fixed("fixed", 64),
        AdmissionLayer::adaptive("adaptive"),
        AdmissionLayer::adaptive("without a queue").queue(QueueBounds::NONE),
    ] {
        let resets: Vec<_> = (0..4).map(|_| tokio::spawn(reset_at_once(layer.clone()))).collect();
        let served = short_requests(connect(&layer, None).await, 400).await;
        assert_eq!(served, 400, "{layer:?}");
        for reset in resets {
            assert!(reset.await.expect("no panic") > 1_000);
        }
        timeout(SECOND, layer.handle().drained()).await.expect("all have ended");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_reset_in_the_queue_leave_no_ticket_and_keep_no_place_from_others() {
    for layer in [
        AdmissionLayer::fixed("short queue", 1).queue(QueueBounds::new(8, 30 * SECOND)),
        AdmissionLayer::fixed("long queue", 1).queue(QueueBounds::new(10_000, 30 * SECOND)),
        AdmissionLayer::from(QueueLayer::new("jobs", 1, 8)),
    ] {
        let permit = layer.limiter().try_acquire().expect("a free permit");
        let flood: Vec<_> = (0..2).map(|_| tokio::spawn(reset_at_once(layer.clone()))).collect();
        sleep(SECOND / 10).await;
        let mut sender = connect(&layer, None).await;
        let waiting = tokio::spawn(sender.send_request(get("/")));
        sleep(SECOND).await;
        assert!(layer.snapshot().queued <= 16, "{layer:?}");
        drop(permit);
        let response = timeout(10 * SECOND, waiting).await.expect("it is decided soon");
        let response = response.expect("no panic").expect("a response");
        assert!(matches!(response.status().as_u16(), 200 | 503), "{layer:?}");
        for resets in flood {
            assert!(resets.await.expect("no panic") > 1_000);
        }
        timeout(SECOND, layer.handle().drained()).await.expect("nothing is left");
        assert_eq!(short_requests(sender, 20).await, 20, "{layer:?}");
    }
}
