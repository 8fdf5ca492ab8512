//! A payment is made once: whatever is refused, wherever it is refused, and however the layers nest.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use backpressure_tests::seed::seeded;
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, Uri};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::Permit;
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Limiter, OriginLimitLayer, QueueBounds, RetryBudget, RetryLayer,
    SHED_REASON, Shed,
};

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

const POSTS: usize = 100_000;
const ORIGIN: &str = "http://here/";

/// The layers of this crate that can refuse.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Admission,
    Blaming,
    Bulkhead,
    Origin,
}

const KINDS: [Kind; 4] = [Kind::Admission, Kind::Blaming, Kind::Bulkhead, Kind::Origin];

/// A way to the limiter of a layer with one place.
type Door = Box<dyn Fn() -> Option<Limiter> + Send + Sync>;

/// The doors of one stack of layers, and the permits that keep some of them shut.
#[derive(Clone, Default)]
struct Doors(Arc<Mutex<(Vec<Door>, Vec<Permit>)>>);

impl Doors {
    fn add(&self, door: impl Fn() -> Option<Limiter> + Send + Sync + 'static) {
        self.0.lock().expect("no panic").0.push(Box::new(door));
    }

    /// Shuts each door with this probability, and opens the others.
    fn roll(&self, rng: &mut Rng, probability: f64) {
        let (doors, permits) = &mut *self.0.lock().expect("no panic");
        permits.clear();
        for limiter in doors.iter().filter_map(|door| door()) {
            limiter.bound_limit(1, 1);
            if rng.f64() < probability {
                permits.extend(limiter.try_acquire());
            }
        }
    }
}

fn wrap(kind: Kind, service: Service, doors: &Doors) -> Service {
    let none = QueueBounds::NONE;
    match kind {
        Kind::Admission | Kind::Blaming => {
            let blames = matches!(kind, Kind::Blaming);
            let status = if blames { 429 } else { 503 }.try_into().expect("a status");
            let layer = AdmissionLayer::fixed("api", 1).queue(none).status(status);
            let limiter = layer.limiter().clone();
            doors.add(move || Some(limiter.clone()));
            BoxCloneSyncService::new(layer.layer(service).map_response(erase))
        }
        Kind::Bulkhead => {
            let layer = BulkheadLayer::new("payments", 1);
            let limiter = layer.limiter().clone();
            doors.add(move || Some(limiter.clone()));
            BoxCloneSyncService::new(layer.layer(service).map_response(erase))
        }
        Kind::Origin => {
            let layer = OriginLimitLayer::new("here").queue(none);
            let gates = layer.clone();
            doors.add(move || gates.limiter(&Uri::from_static(ORIGIN)));
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
    /// Pays, then passes on the answer of a service behind layers of its own.
    PaysAndForwards,
    /// Asks such a service, and pays if it agrees.
    AsksAndPays,
}

async fn handle(
    handler: Handler,
    paid: Arc<AtomicU64>,
    behind: Service,
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
            // The very request, with all that is in its extensions.
            behind.oneshot(request).await
        }
        Handler::AsksAndPays => {
            let answer = behind.oneshot(request).await?;
            if answer.status().is_success() {
                pay();
            }
            Ok(answer)
        }
    }
}

/// Every sequence of at most two layers, outermost first.
fn sequences() -> Vec<Vec<Kind>> {
    let two = KINDS.iter().flat_map(|&outer| KINDS.iter().map(move |&inner| vec![outer, inner]));
    [vec![]].into_iter().chain(KINDS.iter().map(|&kind| vec![kind])).chain(two).collect()
}

fn stack(layers: &[Kind], service: Service, doors: &Doors) -> Service {
    layers.iter().rev().fold(service, |service, &kind| wrap(kind, service, doors))
}

/// Payments made, answers 2xx, and attempts.
#[derive(Debug, Default, PartialEq)]
struct Books {
    paid: u64,
    succeeded: u64,
    attempts: u64,
    marked: u64,
}

/// Sends so many POSTs, one after the other, through one nesting.
async fn post(
    count: usize,
    handler: Handler,
    outer: &[Kind],
    inner: &[Kind],
    rng: &mut Rng,
) -> Books {
    let (doors, paid) = (Doors::default(), Arc::new(AtomicU64::new(0)));
    let agrees = service_fn(async |_: Request<Full<Bytes>>| Ok(Response::default()));
    let behind = stack(inner, BoxCloneSyncService::new(agrees), &doors);
    let pays = Arc::clone(&paid);
    let handles =
        service_fn(move |request| handle(handler, Arc::clone(&pays), behind.clone(), request));
    let app = stack(outer, BoxCloneSyncService::new(handles), &doors);
    let (attempts, dice) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(rng.fork())));
    let counter = Arc::clone(&attempts);
    let attempt = service_fn(move |request: Request<Full<Bytes>>| {
        counter.fetch_add(1, Ordering::Relaxed);
        doors.roll(&mut dice.lock().expect("no panic"), 0.3);
        app.clone().oneshot(request)
    });
    let client = RetryLayer::named("payments").budget(RetryBudget::new(1.0)).seed(rng.u64(..));
    let client = client.max_attempts(5).layer(attempt);
    let mut books = Books::default();
    for _ in 0..count {
        let before = paid.load(Ordering::Relaxed);
        let request = Request::post(ORIGIN).body(Full::default()).expect("a request");
        let answer = client.clone().oneshot(request).await.expect("infallible");
        let payments = paid.load(Ordering::Relaxed) - before;
        let said = format!("{handler:?} in {outer:?} before {inner:?}: {payments} payments");
        assert!(payments <= 1, "{said}");
        let headers = answer.headers();
        if headers.contains_key(SHED_REASON) || answer.extensions().get::<Shed>().is_some() {
            assert_eq!(payments, 0, "{said}, and yet not begun");
            books.marked += 1;
        }
        books.succeeded += u64::from(answer.status().is_success());
    }
    books.paid = paid.load(Ordering::Relaxed);
    books.attempts = attempts.load(Ordering::Relaxed);
    books
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_posts_through_every_nesting_are_paid_as_often_as_they_succeed() {
    let (_, mut rng) = seeded();
    let mut cases = Vec::new();
    for outer in sequences() {
        cases.push((Handler::Pays, outer.clone(), vec![]));
        for inner in sequences() {
            cases.push((Handler::AsksAndPays, outer.clone(), inner.clone()));
            // Around a handler that passes on what others say of its request stands a layer.
            if !outer.is_empty() {
                cases.push((Handler::PaysAndForwards, outer.clone(), inner));
            }
        }
    }
    let each = POSTS.div_ceil(cases.len());
    let (mut posts, mut all) = (0, Books::default());
    for (handler, outer, inner) in cases {
        let books = post(each, handler, &outer, &inner, &mut rng).await;
        if handler == Handler::PaysAndForwards {
            // A handler that pays and then fails has paid: that is its own doing. It is not ours to
            // have it pay again.
            assert!(books.paid >= books.succeeded, "{outer:?} before {inner:?}: {books:?}");
        } else {
            assert_eq!(books.paid, books.succeeded, "{handler:?} {outer:?} {inner:?}");
        }
        posts += each;
        all.attempts += books.attempts;
        all.succeeded += books.succeeded;
        all.marked += books.marked;
    }
    assert!(posts >= POSTS);
    // What was not begun is sent again: there is no safety in never trying.
    assert!(all.attempts > (posts + posts / 10) as u64, "{all:?} of {posts}");
    assert!(all.succeeded > (posts / 3) as u64, "{all:?} of {posts}");
    println!("{posts} POSTs, {all:?}");
}
