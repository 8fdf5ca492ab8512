//! Requests per second of a small axum server on sockets, without a layer and with the adaptive layer.
//!
//! One worker thread serves both. One client thread keeps 32 connections busy, each with one request at a
//! time. The two servers take turns, and only adjacent turns are compared.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_benches::rounds::median;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tower_backpressure::AdmissionLayer;

/// Enough to keep the worker busy while the client reads responses.
const CONNECTIONS: usize = 32;

/// How long one server runs before the other. Long enough for thousands of requests, short enough that other
/// load on the machine affects both turns of a round.
const TURN: Duration = Duration::from_millis(200);

/// Rounds; the whole benchmark takes about 24 s.
const ROUNDS: usize = 60;

fn main() {
    // `cargo test --all-targets` runs this too, without the flag.
    if !std::env::args().any(|it| it == "--bench") {
        return;
    }
    let server = serve();
    let callers = runtime();
    let call = |to| callers.block_on(call(to, TURN)).expect("the server responds");
    // Warm-up: the first requests of a server find a limit that was never reached.
    call(server.bare);
    call(server.adaptive);

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let turn = |to| {
            let before = server.busy();
            let turn = call(to);
            Measured { busy: server.busy() - before, ..turn }
        };
        if round % 2 == 0 {
            let bare = turn(server.bare);
            rounds.push((bare, turn(server.adaptive)));
        } else {
            let adaptive = turn(server.adaptive);
            rounds.push((turn(server.bare), adaptive));
        }
    }
    report(&rounds);
}

/// The figures of one turn.
#[derive(Clone, Copy)]
struct Measured {
    ok: u64,
    other: u64,
    elapsed: Duration,
    /// The worker's processor time; zero where the system does not report it.
    busy: Duration,
}

impl Measured {
    fn rate(self) -> f64 {
        self.ok as f64 / self.elapsed.as_secs_f64()
    }

    fn busy_micros(self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.ok as f64
    }
}

fn report(rounds: &[(Measured, Measured)]) {
    let median_of = |of: fn(&(Measured, Measured)) -> f64| median(rounds.iter().map(of));
    let ratio = median_of(|(bare, adaptive)| adaptive.rate() / bare.rate());
    println!("\nhello, {ROUNDS} rounds of {TURN:?}: adaptive serves {ratio:.3} of bare\n");
    println!("| | requests per second | worker µs per request | not 200 |\n|---|---|---|---|");
    let rates = [median_of(|it| it.0.rate()), median_of(|it| it.1.rate())];
    let busy = [median_of(|it| it.0.busy_micros()), median_of(|it| it.1.busy_micros())];
    let other = rounds.iter().fold([0, 0], |sum, it| [sum[0] + it.0.other, sum[1] + it.1.other]);
    for (at, name) in ["bare", "adaptive"].into_iter().enumerate() {
        println!("| {name} | {:.0} | {:.2} | {} |", rates[at], busy[at], other[at]);
    }
    let ratio = median_of(|(bare, adaptive)| adaptive.busy_micros() / bare.busy_micros());
    println!("\nworker time per request: adaptive takes {ratio:.3} of bare");
}

struct Server {
    bare: SocketAddr,
    adaptive: SocketAddr,
    worker: String,
}

/// Starts a thread that serves both.
fn serve() -> Server {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async move {
            let hello = || Router::new().route("/", get(|| async { "hello, world" }));
            let bare = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let adaptive = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
            let server = Server {
                bare: bare.local_addr().expect("bound"),
                adaptive: adaptive.local_addr().expect("bound"),
                worker: format!("/proc/{}/schedstat", thread.display()),
            };
            sender.send(server).expect("the receiver waits");
            let layered = hello().layer(AdmissionLayer::adaptive("hello"));
            let (bare, layered) = tokio::join!(async { axum::serve(bare, hello()).await }, async {
                axum::serve(adaptive, layered).await
            },);
            bare.and(layered).expect("served to the end");
        });
    });
    receiver.recv().expect("the server starts")
}

impl Server {
    /// The worker's processor time so far; zero where the system does not report it.
    fn busy(&self) -> Duration {
        let stat = fs::read_to_string(&self.worker).unwrap_or_default();
        let nanos = stat.split_whitespace().next().and_then(|it| it.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(0))
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Sends requests to a server for one turn, over new connections.
async fn call(to: SocketAddr, turn: Duration) -> io::Result<Measured> {
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now();
    let calls: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(keep_calling(stream, start + turn, Arc::clone(&counts))))
        .collect();
    for call in calls {
        call.await??;
    }
    let [ok, other] = [&counts[0], &counts[1]].map(|it| it.load(Ordering::Relaxed));
    Ok(Measured { ok, other, elapsed: start.elapsed(), busy: Duration::ZERO })
}

async fn keep_calling(
    mut stream: TcpStream,
    until: Instant,
    counts: Arc<[AtomicU64; 2]>,
) -> io::Result<()> {
    let mut response = [0; 1024];
    while Instant::now() < until {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        let mut read = 0;
        while !is_complete(&response[..read]) {
            let more = stream.read(&mut response[read..]).await?;
            if more == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            read += more;
        }
        let ok = response.starts_with(b"HTTP/1.1 200 ");
        counts[usize::from(!ok)].fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether the response has arrived to the end of its body: that of the handler, or that of a rejection.
fn is_complete(response: &[u8]) -> bool {
    response.ends_with(b"hello, world") || response.ends_with(b"}")
}
