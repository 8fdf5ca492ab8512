//! A layer is one limit, wherever its services are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use backpressure_tests::client::Connection;
use backpressure_tests::server::{all_gone, in_flight, serve};
use http::{Request, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};

const LIMIT: usize = 3;

/// Handlers that count themselves and stay until they are let go.
#[derive(Clone)]
struct Room {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    exit: Arc<Semaphore>,
}

impl Room {
    fn new() -> Self {
        Self { inside: Arc::default(), most: Arc::default(), exit: Arc::new(Semaphore::new(0)) }
    }

    async fn stay(self) -> &'static str {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        let _exit = self.exit.acquire().await.expect("never closed");
        self.inside.fetch_sub(1, Ordering::SeqCst);
        "stayed"
    }

    fn routes(&self, paths: [&str; 2]) -> Router {
        let handler = |room: Self| get(move || room.clone().stay());
        paths.iter().fold(Router::new(), |router, path| router.route(path, handler(self.clone())))
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

fn limited() -> AdmissionLayer {
    AdmissionLayer::fixed("api", LIMIT).queue(QueueBounds::NONE)
}

/// Opens every connection, sends one request on each, and lets the handlers go once everybody is
/// either in or turned away: how many came in, and how many did not.
async fn rush(
    targets: Vec<(std::net::SocketAddr, &'static str, Version)>,
    layer: &AdmissionLayer,
    room: &Room,
) -> (usize, usize) {
    let mut requests = JoinSet::new();
    let turned_away = targets.len() - LIMIT;
    for (address, path, version) in targets {
        let mut connection = Connection::open(address, version).await;
        requests.spawn(async move { connection.get(path).await.expect("an answer").status() });
    }
    for _ in 0..turned_away {
        let status = requests.join_next().await.expect("one each").expect("no panic");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "nobody leaves before the exit opens");
    }
    in_flight(layer, LIMIT).await;
    room.exit.add_permits(LIMIT);
    let rest = requests.join_all().await;
    all_gone(layer).await;
    (rest.iter().filter(|&&status| status == StatusCode::OK).count(), turned_away)
}

#[tokio::test]
async fn two_routes_and_four_connections_share_one_limit() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (layer, room) = (limited(), Room::new());
        let address = serve(room.routes(["/a", "/b"]).layer(layer.clone())).await;
        let targets = (0..4).flat_map(|_| ["/a", "/b"].map(|path| (address, path, version)));
        assert_eq!(rush(targets.collect(), &layer, &room).await, (LIMIT, 8 - LIMIT));
        assert_eq!(room.most(), LIMIT);
    }
}

#[tokio::test]
async fn one_layer_cloned_into_two_servers_is_still_one_limit() {
    let (layer, room) = (limited(), Room::new());
    let one = serve(room.routes(["/a", "/b"]).layer(layer.clone())).await;
    let other = serve(room.routes(["/a", "/b"]).layer(layer.clone())).await;
    let targets = [one, other].into_iter().cycle().take(8);
    let targets = targets.map(|address| (address, "/a", Version::HTTP_11)).collect();
    assert_eq!(rush(targets, &layer, &room).await, (LIMIT, 8 - LIMIT));
    assert_eq!(room.most(), LIMIT);
}

#[tokio::test]
async fn one_layer_on_each_route_is_one_limit_and_two_layers_are_two() {
    let (layer, room) = (limited(), Room::new());
    let handler = |room: &Room| {
        let room = room.clone();
        get(move || room.clone().stay())
    };
    let shared = Router::new()
        .route("/a", handler(&room).layer(layer.clone()))
        .route("/b", handler(&room).layer(layer.clone()));
    let address = serve(shared).await;
    let targets = (0..4).flat_map(|_| ["/a", "/b"].map(|path| (address, path, Version::HTTP_11)));
    assert_eq!(rush(targets.collect(), &layer, &room).await, (LIMIT, 8 - LIMIT));

    let (other, room) = (limited(), Room::new());
    let apart = Router::new()
        .route("/a", handler(&room).layer(layer.clone()))
        .route("/b", handler(&room).layer(other.clone()));
    let address = serve(apart).await;
    let targets = vec![(address, "/a", Version::HTTP_11); LIMIT];
    let mut requests = JoinSet::new();
    for (address, path, version) in targets {
        let mut connection = Connection::open(address, version).await;
        requests.spawn(async move { connection.get(path).await.expect("an answer").status() });
    }
    in_flight(&layer, LIMIT).await;
    assert_eq!(other.snapshot().in_flight, 0);
    room.exit.add_permits(LIMIT);
    assert!(requests.join_all().await.iter().all(|&status| status == StatusCode::OK));
}

/// A layer around the one under test that counts how often it is applied.
#[derive(Clone)]
struct Counting {
    layer: AdmissionLayer,
    applied: Arc<AtomicUsize>,
}

impl<S> Layer<S> for Counting {
    type Service = tower_backpressure::Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.applied.fetch_add(1, Ordering::SeqCst);
        self.layer.layer(inner)
    }
}

#[tokio::test]
async fn a_layer_applied_anew_for_each_connection_is_one_limit() {
    let (layer, room) = (limited(), Room::new());
    let counting = Counting { layer: layer.clone(), applied: Arc::default() };
    let applied = Arc::clone(&counting.applied);
    let address = serve(room.routes(["/a", "/b"]).layer(counting)).await;
    let targets = vec![(address, "/a", Version::HTTP_11); 8];
    assert_eq!(rush(targets, &layer, &room).await, (LIMIT, 8 - LIMIT));
    // What makes this promise worth testing: axum does apply it once a connection at least.
    assert!(applied.load(Ordering::SeqCst) >= 8, "{applied:?}");
}

#[tokio::test]
async fn an_idle_clone_holds_no_permit() {
    let layer = limited();
    let service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, ()>(http::Response::new(String::new()))));
    let mut idle = vec![service.clone(); 1_000];
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for clone in &mut idle {
        let ready = Service::<Request<()>>::poll_ready(clone, &mut cx);
        assert!(matches!(ready, Poll::Ready(Ok(()))));
    }
    assert_eq!(layer.snapshot().in_flight, 0);

    // Neither when it was full at the time: then nothing is set aside for when it is not.
    let held: Vec<_> = (0..LIMIT).map(|_| layer.limiter().try_acquire().expect("room")).collect();
    for clone in &mut idle {
        assert!(Service::<Request<()>>::poll_ready(clone, &mut cx).is_ready());
    }
    drop(held);
    for _ in 0..10 * LIMIT {
        let answer = service.clone().oneshot(Request::new(())).await.expect("no error");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
}

#[tokio::test]
async fn a_call_that_is_never_polled_strands_nothing() {
    let layer = limited();
    let mut service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, ()>(http::Response::new(String::new()))));
    let unpolled: Vec<_> = (0..100).map(|_| service.call(Request::new(()))).collect();
    drop(unpolled);
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
}
