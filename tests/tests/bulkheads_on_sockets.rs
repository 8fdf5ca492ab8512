//! Routes that share a pool, one of which depends on a service that hangs: with bulkheads the others go on.

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use backpressure_tests::routes::{self, POOL, hangs_for_ever};
use backpressure_tests::server::serve;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, BulkheadSet, Compartment, QueueBounds};

/// A request that takes this long hangs: a thousand times what it needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the routes, one of which hangs.
async fn app(layer: impl Fn(&str) -> Option<AdmissionLayer>) -> SocketAddr {
    serve(routes::app(layer, get(hangs_for_ever))).await
}

/// Sends fifty requests to each of two routes, eight at a time; how long the responses took, or `None` where one did
/// not come.
async fn use_routes(client: &reqwest::Client, address: SocketAddr) -> Option<Vec<Duration>> {
    let mut users = JoinSet::new();
    for user in 0..8 {
        let client = client.clone();
        let path = if user % 2 == 0 { "orders" } else { "search" };
        users.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..25 {
                let start = Instant::now();
                let request = client.get(format!("http://{address}/{path}")).send();
                let response = timeout(PATIENCE, request).await.ok()?.expect("a response");
                assert_eq!(response.status(), 200, "{path}");
                times.push(start.elapsed());
            }
            Some(times)
        });
    }
    users.join_all().await.into_iter().collect::<Option<Vec<_>>>().map(|times| times.concat())
}

/// Sends requests to the route that hangs, until as many hold a connection as the layer lets.
fn hang(client: &reqwest::Client, address: SocketAddr) -> JoinSet<()> {
    let mut hanging = JoinSet::new();
    for _ in 0..2 * POOL {
        let request = client.get(format!("http://{address}/reports")).send();
        hanging.spawn(async move { drop(request.await) });
    }
    hanging
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// Whether the other routes respond while one hangs; prints their latency beside that of before.
async fn others_respond(name: &str, address: SocketAddr) -> bool {
    let client = reqwest::Client::new();
    // The connections are made first.
    use_routes(&client, address).await.expect("nothing hangs yet");
    let normal = p99(use_routes(&client, address).await.expect("nothing hangs yet"));
    let _hanging = hang(&client, address);
    sleep(Duration::from_millis(300)).await;
    let times = use_routes(&client, address).await;
    match &times {
        Some(times) => {
            let ratio = p99(times.clone()).div_duration_f64(normal);
            println!("{name}: p99 {ratio:.3} of normal");
        }
        None => println!("{name}: the others hang as well"),
    }
    times.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bulkhead_all_routes_hang() {
    assert!(!others_respond("bare", app(|_| None).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_bulkhead_for_each_route_the_others_respond() {
    let layer = |name: &str| {
        let limit = if name == "reports" { 8 } else { 12 };
        let queue = QueueBounds::default();
        Some(AdmissionLayer::from(
            BulkheadLayer::new(&format!("socket-{name}"), limit).queue(queue),
        ))
    };
    assert!(others_respond("bulkheads", app(layer).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_set_the_others_respond_though_the_one_that_hangs_has_borrowed() {
    let set = BulkheadSet::total(POOL)
        .compartment("orders", 10)
        .compartment("search", 10)
        .compartment("reports", Compartment::guaranteed(4));
    let address = app(|name| Some(set.layer(name))).await;
    let client = reqwest::Client::new();
    // It borrows while the others are idle, and never gives anything back.
    let hanging = hang(&client, address);
    while set.layer("reports").snapshot().in_flight < 4 + 8 + 5 + 5 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(use_routes(&client, address).await.is_some(), "what was kept suffices");
    let in_flight: usize =
        ["orders", "search", "reports"].map(|it| set.layer(it).snapshot().in_flight).iter().sum();
    assert!(in_flight <= POOL);
    drop(hanging);
    while set.layer("reports").snapshot().in_flight > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(others_respond("a set", address).await);
}
