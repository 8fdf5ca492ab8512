//! Three routes that share a pool of twenty connections: each has some for certain, and borrows what is idle.
//!
//! `/reports` waits for a service that may hang. At most it takes its own two connections, the four that belong to no
//! route, and a half of what the others do not use: the others always have the rest.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tower_backpressure::{BulkheadSet, Compartment};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let set = BulkheadSet::total(20)
        .compartment("orders", Compartment::guaranteed(8).lend(0)) // always there at once
        .compartment("search", 6)
        .compartment("reports", Compartment::guaranteed(2).max(10));

    let app = Router::new()
        .route("/orders", get(work).layer(set.layer("orders")))
        .route("/search", get(work).layer(set.layer("search")))
        .route("/reports", get(report).layer(set.layer("reports")));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/orders, http://{0}/search, http://{0}/reports", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn work() -> &'static str {
    tokio::time::sleep(Duration::from_millis(20)).await;
    "done\n"
}

async fn report() -> &'static str {
    tokio::time::sleep(Duration::from_secs(30)).await;
    "a report\n"
}

// cargo run -p backpressure-examples --example bulkhead_set
//
// Thirty reports at once: nine run, two of their own, four of no route's and three that search lends. The others
// wait for a second and are rejected. Meanwhile orders and searches are served.
//
// $ for n in $(seq 30); do curl -s -o /dev/null -w "report %{http_code} after %{time_total} s\n" localhost:3000/reports & done
// $ sleep 0.5; curl -s localhost:3000/orders localhost:3000/search; wait
//
// prints: report 200 after
// prints: report 503 after
