//! A layer is one limit for all its clones, services, routes and connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use backpressure_tests::client::Connection;
use backpressure_tests::server::{serve, wait_for_in_flight, wait_until_idle};
use http::{Request, StatusCode, Version};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};

const LIMIT: usize = 3;

/// Handlers that count themselves and run until they are released.
#[derive(Clone)]
struct BlockingHandlers {
    running: Arc<AtomicUsize>,
    max_running: Arc<AtomicUsize>,
    release: Arc<Semaphore>,
}

impl BlockingHandlers {
    fn new() -> Self {
        Self {
            running: Arc::default(),
            max_running: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        }
    }

    async fn run(self) -> &'static str {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_running.fetch_max(running, Ordering::SeqCst);
        let _release = self.release.acquire().await.expect("the semaphore is never closed");
        self.running.fetch_sub(1, Ordering::SeqCst);
        "done"
    }

    fn routes(&self, paths: [&str; 2]) -> Router {
        let handler = |handlers: Self| get(move || handlers.clone().run());
        paths.iter().fold(Router::new(), |router, path| router.route(path, handler(self.clone())))
    }

    fn max_running(&self) -> usize {
        self.max_running.load(Ordering::SeqCst)
    }
}

fn limited() -> AdmissionLayer {
    AdmissionLayer::fixed("api", LIMIT).queue(QueueBounds::NONE)
}

/// Where a request goes: address, path and version of HTTP.
type Target = (SocketAddr, &'static str, Version);

/// Opens a connection to each target and starts a request on it.
async fn open_and_send(targets: Vec<Target>) -> JoinSet<StatusCode> {
    let mut requests = JoinSet::new();
    for (address, path, version) in targets {
        let mut connection = Connection::open(address, version).await;
        requests.spawn(async move { connection.get(path).await.expect("a response").status() });
    }
    requests
}

/// Sends one request on a new connection to each target and releases the handlers once every request
/// is admitted or rejected. Returns how many requests were served and how many were rejected.
async fn send_to_all(
    targets: Vec<Target>,
    layer: &AdmissionLayer,
    handlers: &BlockingHandlers,
) -> (usize, usize) {
    let rejected = targets.len() - LIMIT;
    let mut requests = open_and_send(targets).await;
    for _ in 0..rejected {
        let status =
            requests.join_next().await.expect("one response for each request").expect("no panic");
        assert_eq!(
            status,
            StatusCode::SERVICE_UNAVAILABLE,
            "no handler is done before the release"
        );
    }
    wait_for_in_flight(layer, LIMIT).await;
    handlers.release.add_permits(LIMIT);
    let admitted = requests.join_all().await;
    wait_until_idle(layer).await;
    (admitted.iter().filter(|&&status| status == StatusCode::OK).count(), rejected)
}

#[tokio::test]
async fn two_routes_and_four_connections_share_one_limit() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (layer, handlers) = (limited(), BlockingHandlers::new());
        let address = serve(handlers.routes(["/a", "/b"]).layer(layer.clone())).await;
        let targets = (0..4).flat_map(|_| ["/a", "/b"].map(|path| (address, path, version)));
        assert_eq!(send_to_all(targets.collect(), &layer, &handlers).await, (LIMIT, 8 - LIMIT));
        assert_eq!(handlers.max_running(), LIMIT);
    }
}

#[tokio::test]
async fn one_layer_cloned_into_two_servers_is_one_limit() {
    let (layer, handlers) = (limited(), BlockingHandlers::new());
    let one = serve(handlers.routes(["/a", "/b"]).layer(layer.clone())).await;
    let other = serve(handlers.routes(["/a", "/b"]).layer(layer.clone())).await;
    let targets = [one, other].into_iter().cycle().take(8);
    let targets = targets.map(|address| (address, "/a", Version::HTTP_11)).collect();
    assert_eq!(send_to_all(targets, &layer, &handlers).await, (LIMIT, 8 - LIMIT));
    assert_eq!(handlers.max_running(), LIMIT);
}

#[tokio::test]
async fn one_layer_on_each_route_is_one_limit_and_two_layers_are_two() {
    let (layer, handlers) = (limited(), BlockingHandlers::new());
    let handler = |handlers: &BlockingHandlers| {
        let handlers = handlers.clone();
        get(move || handlers.clone().run())
    };
    let shared = Router::new()
        .route("/a", handler(&handlers).layer(layer.clone()))
        .route("/b", handler(&handlers).layer(layer.clone()));
    let address = serve(shared).await;
    let targets = (0..4).flat_map(|_| ["/a", "/b"].map(|path| (address, path, Version::HTTP_11)));
    assert_eq!(send_to_all(targets.collect(), &layer, &handlers).await, (LIMIT, 8 - LIMIT));

    let (other, handlers) = (limited(), BlockingHandlers::new());
    let with_two_layers = Router::new()
        .route("/a", handler(&handlers).layer(layer.clone()))
        .route("/b", handler(&handlers).layer(other.clone()));
    let address = serve(with_two_layers).await;
    let targets = vec![(address, "/a", Version::HTTP_11); LIMIT];
    let requests = open_and_send(targets).await;
    wait_for_in_flight(&layer, LIMIT).await;
    assert_eq!(other.snapshot().in_flight, 0);
    handlers.release.add_permits(LIMIT);
    assert!(requests.join_all().await.iter().all(|&status| status == StatusCode::OK));
}

/// Counts how often the layer under test is applied.
#[derive(Clone)]
struct CountingLayer {
    layer: AdmissionLayer,
    applied: Arc<AtomicUsize>,
}

impl<S> Layer<S> for CountingLayer {
    type Service = tower_backpressure::Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.applied.fetch_add(1, Ordering::SeqCst);
        self.layer.layer(inner)
    }
}

#[tokio::test]
async fn a_layer_applied_anew_for_each_connection_is_one_limit() {
    let (layer, handlers) = (limited(), BlockingHandlers::new());
    let counting = CountingLayer { layer: layer.clone(), applied: Arc::default() };
    let applied = Arc::clone(&counting.applied);
    let address = serve(handlers.routes(["/a", "/b"]).layer(counting)).await;
    let targets = vec![(address, "/a", Version::HTTP_11); 8];
    assert_eq!(send_to_all(targets, &layer, &handlers).await, (LIMIT, 8 - LIMIT));
    // The premise of this test: axum applies the layer at least once for each connection.
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

    // Nor when the limit is reached at that time: no permit is reserved for later.
    let permits: Vec<_> =
        (0..LIMIT).map(|_| layer.limiter().try_acquire().expect("a free permit")).collect();
    for clone in &mut idle {
        assert!(Service::<Request<()>>::poll_ready(clone, &mut cx).is_ready());
    }
    drop(permits);
    for _ in 0..10 * LIMIT {
        let response = service.clone().oneshot(Request::new(())).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
}

#[tokio::test]
async fn a_call_that_is_never_polled_leaks_no_permit() {
    let layer = limited();
    let mut service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, ()>(http::Response::new(String::new()))));
    let unpolled: Vec<_> = (0..100).map(|_| service.call(Request::new(()))).collect();
    drop(unpolled);
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
}
