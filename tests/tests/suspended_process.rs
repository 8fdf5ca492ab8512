//! A server process that is suspended by SIGSTOP under load and goes on: it recovers, and nothing is lost.
//!
//! The server is this program, started again by itself: a process cannot look at itself while it is suspended.
#![cfg(unix)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::own_process::OwnProcess;
use backpressure_tests::server::listen;
use reqwest::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower_backpressure::{AdmissionLayer, Handle};

const SECOND: Duration = Duration::from_secs(1);
const SLOTS: usize = 8;
const WORK: Duration = Duration::from_millis(40);
/// Names the kind of limit in the environment of the server process.
const KIND: &str = "KIND_OF_LIMIT";

/// The server in a process of its own.
struct Server {
    process: OwnProcess,
    address: SocketAddr,
    client: Client,
}

impl Server {
    fn start(kind: &str) -> Self {
        let mut process = OwnProcess::start("serves_until_it_is_killed", KIND, kind);
        let address = process.wait_for("address ").parse().expect("where the server listens");
        Self { process, address, client: Client::new() }
    }

    async fn suspend_for(&self, span: Duration) {
        self.process.signal("-STOP");
        sleep(span).await;
        self.process.signal("-CONT");
    }

    async fn admin(&self, path: &str) -> String {
        let response = self.client.get(format!("http://{}/{path}", self.address)).send();
        let response = timeout(20 * SECOND, response).await.expect("an answer in time");
        response.expect("a response").text().await.expect("text")
    }

    /// Whether a request is served, or after how many seconds it is to come back.
    async fn ask(client: Client, address: SocketAddr) -> Result<(), u64> {
        let response = client.get(format!("http://{address}/")).send().await.expect("a response");
        if response.status() == 200 {
            return Ok(());
        }
        let retry_after = response.headers()["retry-after"].to_str().expect("ASCII");
        Err(retry_after.parse().expect("a number"))
    }

    /// Callers that ask again after a short while, or when they are told to, until the result is dropped; and the
    /// longest time that one of them was told.
    fn obedient_callers(&self, callers: usize) -> (JoinSet<()>, Arc<AtomicU64>) {
        let (mut asking, longest_told) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
        for _ in 0..callers {
            let (client, address, longest) =
                (self.client.clone(), self.address, longest_told.clone());
            asking.spawn(async move {
                loop {
                    let told = Self::ask(client.clone(), address).await.err().unwrap_or(0);
                    longest.fetch_max(told, Ordering::Relaxed);
                    sleep(WORK / 2 + Duration::from_secs(told)).await;
                }
            });
        }
        (asking, longest_told)
    }

    /// Requests that ask again at once or after a short while, until the result is dropped.
    fn flood(&self, callers: usize) -> JoinSet<()> {
        let mut flood = JoinSet::new();
        for _ in 0..callers {
            let (client, address) = (self.client.clone(), self.address);
            flood.spawn(async move {
                loop {
                    let _ = Self::ask(client.clone(), address).await;
                    sleep(WORK / 2).await;
                }
            });
        }
        flood
    }

    /// A third of what the service can do for a few seconds: what those were told that were rejected.
    async fn rejected_at_a_third_of_the_load(&self) -> (usize, Vec<u64>) {
        let (mut asked, start) = (JoinSet::new(), Instant::now());
        while start.elapsed() < 4 * SECOND {
            asked.spawn(Self::ask(self.client.clone(), self.address));
            sleep(3 * WORK / SLOTS as u32).await;
        }
        let results = asked.join_all().await;
        (results.len(), results.into_iter().filter_map(Result::err).collect())
    }

    /// Asks that of a third of the load, next to nothing is rejected.
    async fn serves_a_third_of_the_load(&self, kind: &str) {
        let (sent, rejected) = self.rejected_at_a_third_of_the_load().await;
        println!("{kind}: of {sent} at a third of the load these were rejected: {rejected:?}");
        assert!(rejected.len() * 100 <= sent, "{kind}: {rejected:?} of {sent}");
    }

    /// Waits until nothing is in flight or queued.
    async fn becomes_idle(&self) {
        let mut state = String::new();
        for _ in 0..500 {
            state = self.admin("state").await;
            if state == "0 0" {
                return;
            }
            sleep(SECOND / 50).await;
        }
        panic!("in flight and queued: {state}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the server of the other tests, in a process of its own"]
async fn serves_until_it_is_killed() {
    let Ok(kind) = std::env::var(KIND) else { return };
    let layer = match kind.as_str() {
        "fixed" => AdmissionLayer::fixed("api", SLOTS),
        "lowest" => AdmissionLayer::adaptive("api").max(1),
        _ => AdmissionLayer::adaptive("api"),
    };
    let handle = layer.handle().clone();
    // At the lowest limit there is one slot.
    let slots = if kind == "lowest" { 1 } else { SLOTS };
    let free = Arc::new(Semaphore::new(slots));
    let work = async move || {
        let _slot = free.acquire().await.expect("never closed");
        sleep(WORK.mul_f64(slots as f64 / SLOTS as f64)).await;
    };
    let (state, drain, resume) = (handle.clone(), handle.clone(), handle);
    let app = Router::new()
        .route("/", get(work).layer(layer))
        .route("/state", get(async move || said(&state)))
        .route("/drain", get(async move || drain_and_wait(drain).await))
        .route("/resume", get(async move || resume.resume()));
    let (listener, address) = listen().await;
    println!("\naddress {address}");
    axum::serve(listener, app).await.expect("it is killed before");
}

fn said(handle: &Handle) -> String {
    let now = handle.snapshot();
    format!("{} {}", now.in_flight, now.queued)
}

async fn drain_and_wait(handle: Handle) -> &'static str {
    handle.drain();
    handle.drained().await;
    "drained"
}

/// How many seconds a caller may be told to stay away because of a suspension of three, on a machine that is busy with
/// other work. What is told on one that is not: `retry_after_is_accurate`.
const LONGEST_TOLD: u64 = 20;

#[tokio::test]
async fn a_suspension_under_overload_is_over_seconds_after_its_end() {
    for kind in ["fixed", "adaptive", "lowest"] {
        let server = Server::start(kind);
        let (callers, longest_told) = server.obedient_callers(6 * SLOTS);
        sleep(2 * SECOND).await;
        let before = longest_told.load(Ordering::Relaxed);
        server.suspend_for(3 * SECOND).await;
        sleep(2 * SECOND).await;
        let told = longest_told.load(Ordering::Relaxed);
        println!("{kind}: told {before} s before, {told} s at most");
        assert!(told <= LONGEST_TOLD, "{kind}: {told} s");
        drop(callers);
        server.becomes_idle().await;
        server.serves_a_third_of_the_load(kind).await;
    }
}

#[tokio::test]
async fn a_suspension_in_a_flood_leaves_a_service_that_serves_seconds_after_the_flood() {
    for kind in ["fixed", "adaptive", "lowest"] {
        let server = Server::start(kind);
        let flood = server.flood(6 * SLOTS);
        sleep(2 * SECOND).await;
        server.suspend_for(3 * SECOND).await;
        sleep(2 * SECOND).await;
        drop(flood);
        server.becomes_idle().await;
        server.serves_a_third_of_the_load(kind).await;
    }
}

#[tokio::test]
async fn suspensions_during_the_search_for_a_limit_leave_one_that_serves() {
    let server = Server::start("adaptive");
    let flood = server.flood(4 * SLOTS);
    for millis in [50, 400, 900, 200] {
        sleep(Duration::from_millis(millis)).await;
        server.suspend_for(SECOND).await;
    }
    sleep(2 * SECOND).await;
    drop(flood);
    server.becomes_idle().await;
    server.serves_a_third_of_the_load("adaptive").await;
}

#[tokio::test]
async fn a_drain_in_which_the_process_is_suspended_ends_and_can_be_undone() {
    for kind in ["fixed", "adaptive"] {
        let server = Server::start(kind);
        let flood = server.flood(6 * SLOTS);
        sleep(SECOND).await;
        let (client, address) = (server.client.clone(), server.address);
        let draining = tokio::spawn(client.get(format!("http://{address}/drain")).send());
        sleep(WORK / 4).await;
        server.suspend_for(2 * SECOND).await;
        let drained = timeout(20 * SECOND, draining).await.expect("it ends").expect("no panic");
        let drained = drained.expect("a response").text().await.expect("text");
        assert_eq!(drained, "drained", "{kind}");
        let told = Server::ask(server.client.clone(), server.address).await;
        assert_eq!(
            told,
            Err(1),
            "{kind}: come back in a second, when another process can serve it"
        );
        drop(flood);
        server.admin("resume").await;
        server.serves_a_third_of_the_load(kind).await;
        server.becomes_idle().await;
    }
}
