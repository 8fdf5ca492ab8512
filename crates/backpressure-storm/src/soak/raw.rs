//! Clients that write to sockets what no library would: halves, nonsense, and many requests at once.

use super::load::Load;
use super::tally::End;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Requests that are sent at once.
pub(super) const PIPELINED: usize = 8;
/// The longest head of a response that is read.
const MAX_HEAD: usize = 8 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reader stalls.
const STALL: Duration = Duration::from_secs(15);

/// One client after the other.
pub(super) async fn forever<F, R>(load: Load, client: F)
where
    F: Fn(Load) -> R,
    R: Future<Output = ()>,
{
    loop {
        client(load.clone()).await;
        sleep(Duration::from_millis(50)).await;
    }
}

/// Takes the head of a long response, and reads no more.
pub(super) async fn slow_reader(load: Load) {
    let request = "GET /download HTTP/1.1\r\nhost: soak\r\n\r\n";
    if let Some(stream) = exchange(&load, "slow reader", request.as_bytes()).await {
        sleep(STALL).await;
        drop(stream);
    }
}

/// Sends a body of 20 kB for four seconds; one in four leaves halfway.
pub(super) async fn slow_sender(load: Load) {
    let head = "POST /upload HTTP/1.1\r\nhost: soak\r\ncontent-length: 20000\r\n\r\n";
    let Ok(mut stream) = TcpStream::connect(load.address).await else { return };
    let leaves = fastrand::u8(..) < 64;
    let mut sent = stream.write_all(head.as_bytes()).await;
    for _ in 0..if leaves { 10 } else { 20 } {
        sleep(Duration::from_millis(200)).await;
        sent = sent.and(stream.write_all(&[b'x'; 1_000]).await);
    }
    match leaves {
        true => load.tally.count("slow sender", End::Left),
        // A rejection may have come before the body was sent.
        false => read_response(&load, "slow sender", &mut stream).await,
    }
    drop(sent);
}

/// Requests that are none.
pub(super) async fn malformed(load: Load) {
    const REQUESTS: [&[u8]; 8] = [
        b"GET /work HTTP/1.1\r\nhost: soak\r\nx: \x00\x01\r\n\r\n",
        b"GET /work HTTP/1.1\r\nhost: soak\r\ncontent-length: many\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nhost: soak\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
        b"POST /upload HTTP/1.1\r\nhost: soak\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /work HTTP/1.1\r\nhost soak\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff\x04\x00\x00\x00\x00\x00",
        b"GET /work HTTP/1.1\r\nhost: soak\r\nrequest-timeout: -1, 99999999999999999999\r\npriority: u=\xff\r\nx-backpressure-ticket: zz\r\n\r\n",
    ];
    let request = REQUESTS[fastrand::usize(..REQUESTS.len())];
    drop(exchange(&load, "malformed", request).await);
}

/// Eight requests in one write, and as many responses.
pub(super) async fn pipelining(load: Load) {
    let Ok(mut stream) = TcpStream::connect(load.address).await else { return };
    let request = b"GET /work HTTP/1.1\r\nhost: soak\r\n\r\n".repeat(PIPELINED);
    if stream.write_all(&request).await.is_err() {
        return load.tally.count("pipelining", End::Broken);
    }
    let mut received = Vec::new();
    for _ in 0..PIPELINED {
        let Some((status, headers, length)) = next_head(&mut stream, &mut received).await else {
            return load.tally.count("pipelining", End::Broken);
        };
        load.tally.responded("pipelining", status, &headers);
        if !skip_body(&mut stream, &mut received, length).await {
            return;
        }
    }
}

/// Sends a request and counts the head of the response.
async fn exchange(load: &Load, client: &'static str, request: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(load.address).await.ok()?;
    if stream.write_all(request).await.is_err() {
        load.tally.count(client, End::Broken);
        return None;
    }
    read_response(load, client, &mut stream).await;
    Some(stream)
}

async fn read_response(load: &Load, client: &'static str, stream: &mut TcpStream) {
    match timeout(PATIENCE, next_head(stream, &mut Vec::new())).await {
        Ok(Some((status, headers, _))) => load.tally.responded(client, status, &headers),
        Ok(None) => load.tally.count(client, End::Broken),
        Err(_) => load.tally.count(client, End::Left),
    }
}

/// The head of the next response, and the length of its body; what comes behind it stays in `received`.
async fn next_head(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> Option<(StatusCode, HeaderMap, usize)> {
    let end = loop {
        if let Some(at) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if received.len() > MAX_HEAD || !receive(stream, received).await {
            return None;
        }
    };
    let head: Vec<u8> = received.drain(..end).collect();
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HeaderMap = lines
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, value)| {
            let value = HeaderValue::from_str(value.trim()).ok()?;
            Some((name.parse::<HeaderName>().ok()?, value))
        })
        .collect();
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    Some((status, headers, length.unwrap_or(0)))
}

async fn skip_body(stream: &mut TcpStream, received: &mut Vec<u8>, length: usize) -> bool {
    while received.len() < length {
        if !receive(stream, received).await {
            return false;
        }
    }
    received.drain(..length);
    true
}

async fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    let read = timeout(PATIENCE, stream.read_buf(received)).await;
    matches!(read, Ok(Ok(1..)))
}
