//! What an operator does to a layer with a compartment for each key: it holds for all keys, later ones included.

use std::convert::Infallible;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::server::{CompartmentsLayer, QuotaKey};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Handle, QueueBounds};

const SECOND: Duration = Duration::from_secs(1);
const KEYS: usize = 5;

fn by_path(head: &Parts) -> Option<QuotaKey> {
    Some(QuotaKey::new(head.uri.path().as_bytes()))
}

/// Sends this many requests to each of some keys, each of which takes a second.
async fn send(layer: &CompartmentsLayer, keys: &str, count: usize) -> JoinSet<StatusCode> {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        sleep(SECOND).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut running = JoinSet::new();
    for index in 0..KEYS * count {
        let path = format!("/{keys}/{}", index % KEYS);
        let request = Request::builder().uri(path).body(()).expect("a request");
        let response = service.clone().oneshot(request);
        running.spawn(async move { response.await.expect("infallible").status() });
    }
    tokio::task::yield_now().await;
    running
}

async fn served(running: JoinSet<StatusCode>) -> usize {
    let statuses = running.join_all().await;
    statuses.into_iter().filter(|&it| it == StatusCode::OK).count()
}

/// A layer with two permits for each key, with a queue.
fn layer(name: &str) -> (CompartmentsLayer, Handle) {
    let queue = QueueBounds::new(10, 10 * SECOND);
    let layer = AdmissionLayer::fixed(name, 1).per(2, queue, by_path);
    (layer, Handle::named(name).expect("the layer lives"))
}

#[tokio::test(start_paused = true)]
async fn a_drain_serves_what_is_in_every_compartment_rejects_the_rest_and_waits_for_all() {
    let (layer, handle) = layer("keyed-drain");
    let running = send(&layer, "known", 4).await;
    let now = handle.snapshot();
    assert_eq!((now.in_flight, now.queued), (2 * KEYS, 2 * KEYS));
    handle.drain();
    let start = Instant::now();
    assert_eq!(served(send(&layer, "known", 1).await).await, 0);
    assert_eq!(served(send(&layer, "new", 1).await).await, 0);
    timeout(10 * SECOND, handle.drained()).await.expect("all are served");
    assert!(start.elapsed() >= 2 * SECOND, "it waits for those in the queue");
    assert_eq!(served(running).await, 4 * KEYS);
    handle.resume();
    for keys in ["known", "new", "newer"] {
        assert_eq!(served(send(&layer, keys, 1).await).await, KEYS, "{keys}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_rejects_and_a_pause_holds_the_requests_of_known_and_new_keys() {
    let (layer, handle) = layer("keyed-stop");
    let running = send(&layer, "known", 3).await;
    handle.stop();
    assert_eq!(served(running).await, 2 * KEYS, "those in the queue are rejected");
    assert_eq!(served(send(&layer, "new", 1).await).await, 0);
    // Compartments begin at different times.
    sleep(SECOND).await;
    handle.pause(5 * SECOND);
    let start = Instant::now();
    let (known, newer) = (send(&layer, "known", 2).await, send(&layer, "newer", 2).await);
    assert_eq!(handle.snapshot().queued, 4 * KEYS);
    assert_eq!((served(known).await, served(newer).await), (2 * KEYS, 2 * KEYS));
    assert_eq!(start.elapsed().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_limit_is_that_of_every_compartment() {
    let layer = BulkheadLayer::per("keyed-pin", 1, by_path);
    let handle = Handle::named("keyed-pin").expect("the layer lives");
    assert_eq!(served(send(&layer, "known", 4).await).await, KEYS);
    handle.pin(3);
    assert_eq!(served(send(&layer, "known", 4).await).await, 3 * KEYS);
    assert_eq!(served(send(&layer, "new", 4).await).await, 3 * KEYS);
    handle.unpin();
    for keys in ["known", "new", "newer"] {
        assert_eq!(served(send(&layer, keys, 4).await).await, KEYS, "{keys}");
    }
}
