//! What an HTTP/2 peer says about requests that it did not process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_backpressure::client::CooldownPhase;
use tower_backpressure::{Attempts, ClientStack, CooldownLayer, Retry, RetryLayer};

use crate::memory_server::ample_budget;

fn client() -> Retry<Client<HttpConnector, Full<Bytes>>> {
    let hyper = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    RetryLayer::new().layer(hyper)
}

fn post(listener: &TcpListener) -> Request<Full<Bytes>> {
    let url = format!("http://{}/", listener.local_addr().unwrap());
    Request::post(url).body(Full::from("an order")).unwrap()
}

/// Resets the first streams of a connection for this reason, and responds to the others. Returns the
/// number of streams when the connection ends.
async fn serve(stream: TcpStream, resets: usize, reason: Reason) -> usize {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut streams = 0;
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        streams += 1;
        match streams <= resets {
            true => respond.send_reset(reason),
            false => drop(respond.send_response(Response::new(()), true).unwrap()),
        }
    }
    streams
}

#[tokio::test]
async fn a_post_whose_stream_was_refused_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let post = post(&listener);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, 2, Reason::REFUSED_STREAM).await
    });
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(3));
}

#[tokio::test]
async fn a_post_whose_stream_was_reset_for_another_reason_is_sent_once() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let post = post(&listener);
        let streams = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, 9, reason).await
        });
        assert!(client().oneshot(post).await.is_err(), "{reason:?}");
        assert_eq!(streams.await.unwrap(), 1, "{reason:?}");
    }
}

#[tokio::test]
async fn a_get_whose_stream_was_reset_to_calm_the_client_waits_for_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let get = Request::get(post(&listener).uri()).body(Full::default()).unwrap();
    let times = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut times = Vec::new();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            times.push(Instant::now());
            match times.len() {
                1 => respond.send_reset(Reason::ENHANCE_YOUR_CALM),
                _ => drop(respond.send_response(Response::new(()), true).unwrap()),
            }
        }
        times
    });
    let response = client().oneshot(get).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    // The connection ends with its last stream.
    drop(response);
    let times = times.await.unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{times:?}");
}

/// Resets all streams of all connections to calm the client, while it is told to; returns how many there were.
async fn serve_all(listener: TcpListener, calms: Arc<AtomicBool>, streams: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (calms, streams) = (calms.clone(), streams.clone());
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                streams.fetch_add(1, SeqCst);
                match calms.load(SeqCst) {
                    true => respond.send_reset(Reason::ENHANCE_YOUR_CALM),
                    false => drop(respond.send_response(Response::new(()), true).unwrap()),
                }
            }
        });
    }
}

#[tokio::test]
async fn streams_that_are_reset_to_calm_the_client_begin_a_cooldown_for_all_callers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = post(&listener).uri().clone();
    let (calms, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(serve_all(listener, calms.clone(), streams.clone()));
    let cooldown = CooldownLayer::new("calm");
    let hyper = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let client = ClientStack::new("calm").cooldown(cooldown.clone()).layer(hyper);
    let send =
        || client.clone().oneshot(Request::post(&uri).body(Full::<Bytes>::default()).unwrap());
    assert_eq!(send().await.unwrap().status(), 200);
    calms.store(true, SeqCst);
    let phase = || cooldown.snapshot(&uri).unwrap().phase;
    for _ in 0..10 {
        // It may have been carried out, so that it is not repeated.
        assert!(send().await.is_err());
        if phase() == CooldownPhase::Quiet {
            break;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(phase(), CooldownPhase::Quiet);
    let before = streams.load(SeqCst);
    calms.store(false, SeqCst);
    let calls: Vec<_> = (0..20).map(|_| tokio::spawn(send())).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(streams.load(SeqCst) - before, 20);
}

#[tokio::test]
async fn a_post_above_the_last_stream_of_a_goaway_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let post = post(&listener);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Reads the request, and answers with SETTINGS and a GOAWAY whose last stream is 0.
        let mut request = [0; 1_024];
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        stream.write_all(&goaway).await.unwrap();
        let (next, _) = listener.accept().await.unwrap();
        serve(next, 0, Reason::NO_ERROR).await
    });
    let response = client().oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
}

/// Reads frames of a client until this many streams have been opened.
async fn await_streams(stream: &mut TcpStream, count: usize) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    let mut opened = 0;
    while opened < count {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        opened += usize::from(head[3] == 1);
    }
}

#[tokio::test]
async fn of_a_hundred_posts_in_flight_those_above_the_last_stream_of_a_goaway_are_sent_again() {
    for code in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::INTERNAL_ERROR] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = post(&listener);
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            await_streams(&mut stream, 100).await;
            // The client opens 1, 3, …, 199; the first fifty were or might be processed.
            let [_, _, _, code] = u32::from(code).to_be_bytes();
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, code];
            stream.write_all(&goaway).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(stream);
            let (next, _) = listener.accept().await.unwrap();
            let serving = serve(next, 0, Reason::NO_ERROR);
            tokio::time::timeout(Duration::from_secs(20), serving).await.unwrap()
        });
        let client = {
            let hyper = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
            RetryLayer::new().budget(ample_budget()).layer(hyper)
        };
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            calls.spawn(client.clone().oneshot(request.clone()));
        }
        let results = calls.join_all().await;
        drop(client);
        let answered: Vec<_> = results.iter().flatten().collect();
        assert_eq!(answered.len(), 50, "{code:?}");
        assert!(answered.iter().all(|it| Attempts::of(it.extensions()) == Attempts(2)));
        drop(results);
        assert_eq!(served.await.unwrap(), 50, "{code:?}");
    }
}
