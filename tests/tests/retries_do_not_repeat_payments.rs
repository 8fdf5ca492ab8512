//! Retries do not repeat a payment, whichever layer rejects it and however the layers nest.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use backpressure_tests::seed::seeded_rng;
use bytes::Bytes;
use fastrand::Rng;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Limiter, OriginLimitLayer, Permit, QueueBounds, Quota,
    QuotaLayer, RetryBudget, RetryLayer, SHED_REASON,
};

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

const POSTS: usize = 100_000;
const ORIGIN: &str = "http://here/";

/// The layers that can reject a request.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Admission,
    AdmissionWith429,
    Bulkhead,
    Origin,
    Quota,
}

const KINDS: [Kind; 5] =
    [Kind::Admission, Kind::AdmissionWith429, Kind::Bulkhead, Kind::Origin, Kind::Quota];

/// Returns the limiter of a layer, once that exists.
type FindLimiter = Box<dyn Fn() -> Option<Limiter> + Send + Sync>;

/// The limiters of one stack of layers, and the permits that fill some of them.
#[derive(Clone, Default)]
struct Limiters(Arc<Mutex<(Vec<FindLimiter>, Vec<Permit>)>>);

impl Limiters {
    fn add(&self, find: impl Fn() -> Option<Limiter> + Send + Sync + 'static) {
        self.0.lock().expect("no panic").0.push(Box::new(find));
    }

    /// Sets each limit to one and takes its permit with this probability.
    fn fill_at_random(&self, rng: &mut Rng, probability: f64) {
        let (limiters, permits) = &mut *self.0.lock().expect("no panic");
        permits.clear();
        for limiter in limiters.iter().filter_map(|find| find()) {
            limiter.bound_limit(1, 1);
            if rng.f64() < probability {
                permits.extend(limiter.try_acquire());
            }
        }
    }
}

fn wrap(kind: Kind, service: Service, limiters: &Limiters) -> Service {
    match kind {
        Kind::Admission | Kind::AdmissionWith429 => {
            let too_many = matches!(kind, Kind::AdmissionWith429);
            let status = if too_many { 429 } else { 503 }.try_into().expect("a status");
            let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE).status(status);
            let limiter = layer.limiter().clone();
            limiters.add(move || Some(limiter.clone()));
            BoxCloneSyncService::new(layer.layer(service).map_response(erase))
        }
        Kind::Bulkhead => {
            let layer = BulkheadLayer::new("payments", 1);
            let limiter = layer.limiter().clone();
            limiters.add(move || Some(limiter.clone()));
            BoxCloneSyncService::new(layer.layer(service).map_response(erase))
        }
        Kind::Origin => {
            let layer = OriginLimitLayer::new("here").queue(QueueBounds::NONE);
            let origins = layer.clone();
            limiters.add(move || origins.limiter(&Uri::from_static(ORIGIN)));
            BoxCloneSyncService::new(layer.layer(service).map_response(erase))
        }
        Kind::Quota => {
            // Every third request costs more than the quota ever allows.
            let count = AtomicU64::new(0);
            let cost = move |_: &http::request::Parts| {
                if count.fetch_add(1, Ordering::Relaxed) % 3 == 1 { 2 } else { 0 }
            };
            let layer = QuotaLayer::of_all("quota", Quota::per_second(1)).cost(cost);
            BoxCloneSyncService::new(layer.layer(service).map_response(erase))
        }
    }
}

fn erase<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    response.map(Body::new)
}

/// What the innermost handler does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Handler {
    /// Pays.
    Pays,
    /// Pays, then forwards the request to another service and returns its response.
    PaysAndForwards,
    /// The same, where the other service is in another process.
    PaysAndForwardsByWire,
    /// Forwards the request first, and pays if the response is a success.
    ForwardsAndPays,
}

async fn handle(
    handler: Handler,
    paid: Arc<AtomicU64>,
    upstream: Service,
    request: Request<Full<Bytes>>,
) -> Result<Response<Body>, Infallible> {
    let pay = || paid.fetch_add(1, Ordering::Relaxed);
    match handler {
        Handler::Pays => {
            pay();
            Ok(Response::default())
        }
        Handler::PaysAndForwards => {
            pay();
            // The same request, with all its extensions.
            upstream.oneshot(request).await
        }
        Handler::PaysAndForwardsByWire => {
            pay();
            upstream.oneshot(request).await.map(by_wire)
        }
        Handler::ForwardsAndPays => {
            let response = upstream.oneshot(request).await?;
            if is_success(&response) {
                pay();
            }
            Ok(response)
        }
    }
}

/// Only bytes of a response come from another process.
fn by_wire(response: Response<Body>) -> Response<Body> {
    let (head, body) = response.into_parts();
    let mut received = Response::new(body);
    *received.status_mut() = head.status;
    for (name, value) in &head.headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        received.headers_mut().append(name, value);
    }
    received
}

/// A gRPC call that is rejected has status 200, and another of its own.
fn is_success<B>(response: &Response<B>) -> bool {
    response.status().is_success() && !response.headers().contains_key("grpc-status")
}

/// Every sequence of at most two layers, outermost first.
fn sequences() -> Vec<Vec<Kind>> {
    let two = KINDS.iter().flat_map(|&outer| KINDS.iter().map(move |&inner| vec![outer, inner]));
    [vec![]].into_iter().chain(KINDS.iter().map(|&kind| vec![kind])).chain(two).collect()
}

fn stack(layers: &[Kind], service: Service, limiters: &Limiters) -> Service {
    layers.iter().rev().fold(service, |service, &kind| wrap(kind, service, limiters))
}

/// Counts of one nesting: payments, responses 2xx, attempts, and responses marked as not begun.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    paid: u64,
    succeeded: u64,
    attempts: u64,
    marked: u64,
}

/// Sends `count` POSTs through one nesting, one after the other.
async fn post(
    count: usize,
    handler: Handler,
    outer: &[Kind],
    inner: &[Kind],
    rng: &mut Rng,
) -> Counts {
    let (limiters, paid) = (Limiters::default(), Arc::new(AtomicU64::new(0)));
    let succeeds = service_fn(async |_: Request<Full<Bytes>>| Ok(Response::default()));
    let upstream = stack(inner, BoxCloneSyncService::new(succeeds), &limiters);
    let payments = Arc::clone(&paid);
    let innermost = service_fn(move |request| {
        handle(handler, Arc::clone(&payments), upstream.clone(), request)
    });
    let app = stack(outer, BoxCloneSyncService::new(innermost), &limiters);
    let (attempts, rng_of_attempts) =
        (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(rng.fork())));
    let counter = Arc::clone(&attempts);
    let attempt = service_fn(move |request: Request<Full<Bytes>>| {
        counter.fetch_add(1, Ordering::Relaxed);
        limiters.fill_at_random(&mut rng_of_attempts.lock().expect("no panic"), 0.3);
        app.clone().oneshot(request)
    });
    let client = RetryLayer::named("payments").budget(RetryBudget::new(1.0)).seed(rng.u64(..));
    let client = client.max_attempts(5).layer(attempt);
    let mut counts = Counts::default();
    for _ in 0..count {
        let before = paid.load(Ordering::Relaxed);
        let kind = if rng.bool() { "application/grpc" } else { "application/json" };
        let request = Request::post(ORIGIN).header(CONTENT_TYPE, kind);
        let request = request.body(Full::default()).expect("a request");
        let response = client.clone().oneshot(request).await.expect("infallible");
        let payments = paid.load(Ordering::Relaxed) - before;
        let context = format!("{handler:?} in {outer:?} before {inner:?}: {payments} payments");
        assert!(payments <= 1, "{context}");
        let headers = response.headers();
        if headers.contains_key(SHED_REASON) {
            assert_eq!(payments, 0, "{context}, but marked as not begun");
            counts.marked += 1;
        }
        counts.succeeded += u64::from(is_success(&response));
    }
    counts.paid = paid.load(Ordering::Relaxed);
    counts.attempts = attempts.load(Ordering::Relaxed);
    counts
}

#[tokio::test(start_paused = true)]
async fn each_of_a_hundred_thousand_posts_is_paid_at_most_once_through_every_nesting_of_layers() {
    let (_, mut rng) = seeded_rng();
    let mut cases = Vec::new();
    for outer in sequences() {
        cases.push((Handler::Pays, outer.clone(), vec![]));
        for inner in sequences() {
            cases.push((Handler::ForwardsAndPays, outer.clone(), inner.clone()));
            // Only a layer around it removes the marker from a response that the handler forwards.
            if !outer.is_empty() {
                cases.push((Handler::PaysAndForwards, outer.clone(), inner.clone()));
                // A client's layer believes another process, whose server has rejected the request.
                if outer.iter().any(|kind| !matches!(kind, Kind::Origin | Kind::Quota)) {
                    cases.push((Handler::PaysAndForwardsByWire, outer.clone(), inner));
                }
            }
        }
    }
    let each = POSTS.div_ceil(cases.len());
    let (mut posts, mut all) = (0, Counts::default());
    for (handler, outer, inner) in cases {
        let counts = post(each, handler, &outer, &inner, &mut rng).await;
        if matches!(handler, Handler::PaysAndForwards | Handler::PaysAndForwardsByWire) {
            // This handler may pay and then return a failure; the layers must only not repeat the
            // payment.
            assert!(counts.paid >= counts.succeeded, "{outer:?} before {inner:?}: {counts:?}");
        } else {
            assert_eq!(counts.paid, counts.succeeded, "{handler:?} {outer:?} {inner:?}");
        }
        posts += each;
        all.attempts += counts.attempts;
        all.succeeded += counts.succeeded;
        all.marked += counts.marked;
    }
    assert!(posts >= POSTS);
    // Requests that were not begun are retried; without retries this test would prove nothing.
    assert!(all.attempts > (posts + posts / 10) as u64, "{all:?} of {posts}");
    assert!(all.succeeded > (posts / 3) as u64, "{all:?} of {posts}");
    println!("{posts} POSTs, {all:?}");
}
