//! `DependencyLayer` and the limit of an origin: a request whose call would be rejected does not run, on the paused
//! clock.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::{Request, Response, Uri};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::client::{DependencyLayer, Unavailable};
use tower_backpressure::{AdmissionLayer, Deadline, OriginLimitLayer, QueueBounds};

use super::{MS, ORIGIN, Reply, SECOND, get, load, ok, retry_after};

/// A service in the middle, whose handler calls an origin that takes 100 ms.
#[derive(Clone)]
struct Middle {
    limits: OriginLimitLayer,
    started: Arc<AtomicUsize>,
    wasted: Arc<AtomicUsize>,
}

impl Middle {
    fn new(limit: usize, queue: QueueBounds) -> Self {
        let limits = OriginLimitLayer::new("origin").queue(queue);
        let middle = Self { limits, started: Arc::default(), wasted: Arc::default() };
        let origin = Uri::from_static(ORIGIN);
        drop(middle.layer());
        middle.limits.limiter(&origin).expect("known").bound_limit(limit, limit);
        middle
    }

    fn layer(&self) -> DependencyLayer {
        DependencyLayer::new(&Uri::from_static(ORIGIN)).origin_limit(&self.limits)
    }

    /// The handler, without a layer around it.
    fn handler(
        &self,
    ) -> impl Service<Request<()>, Response = Reply, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let origin = service_fn(async |_: Request<()>| {
            sleep(100 * MS).await;
            Ok::<_, Infallible>(ok())
        });
        let (client, middle) = (self.limits.layer(origin), self.clone());
        service_fn(move |_: Request<()>| {
            let (client, middle) = (client.clone(), middle.clone());
            async move {
                middle.started.fetch_add(1, Relaxed);
                let response = client.oneshot(get(ORIGIN)).await?;
                if let Some(unavailable) = Unavailable::of(&response) {
                    middle.wasted.fetch_add(1, Relaxed);
                    return Ok(unavailable.into_response::<()>().map(|()| ok().into_body()));
                }
                Ok(ok())
            }
        })
    }

    fn counts(&self) -> (usize, usize) {
        (self.started.load(Relaxed), self.wasted.load(Relaxed))
    }
}

fn served<B>(responses: &[Response<B>]) -> usize {
    responses.iter().filter(|response| response.status() == 200).count()
}

#[tokio::test(start_paused = true)]
async fn no_handler_works_for_a_call_that_the_limit_of_the_origin_would_reject() {
    // Four calls of 100 ms at a time are 40 a second, of 300 requests.
    let length = 20 * SECOND;
    let bare = Middle::new(4, QueueBounds::NONE);
    let without = served(&load(&bare.handler(), SECOND / 300, length).await);
    let known = Middle::new(4, QueueBounds::NONE);
    let admission = AdmissionLayer::fixed("middle", 1_000);
    let service = admission.layer(known.layer().layer(known.handler()));
    let responses = load(&service, SECOND / 300, length).await;
    let (with, (started, wasted)) = (served(&responses), known.counts());
    println!("without {without} of {:?}, with {with} of {started}, {wasted} wasted", bare.counts());
    assert!(bare.counts().1 > 4_000);
    assert_eq!(wasted, 0);
    assert!(with >= without && started == with);
    let rejected = responses.iter().filter(|response| response.status() == 503);
    assert!(rejected.clone().count() > 4_000);
    assert!(rejected.clone().all(|response| retry_after(response) >= SECOND));
    // The handlers of other requests may have run, so that the admission layer outside promises nothing.
    assert!(!rejected.clone().any(|response| response.headers().contains_key("x-shed-reason")));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_wait_in_the_queue_runs_unless_its_deadline_is_earlier() {
    let middle = Middle::new(1, QueueBounds::new(2, 10 * SECOND));
    let service = middle.layer().layer(middle.handler());
    // Measured once.
    service.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    let first = tokio::spawn(service.clone().oneshot(get(ORIGIN)));
    sleep(MS).await;
    let mut urgent = get(ORIGIN);
    urgent.extensions_mut().insert(Deadline(Instant::now() + 50 * MS));
    let rejected = service.clone().oneshot(urgent).await.expect("infallible");
    assert_eq!((rejected.status().as_u16(), middle.counts().0), (503, 2));
    let second = service.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    assert_eq!((second.status().as_u16(), middle.counts().1), (200, 0));
    assert_eq!(first.await.expect("no panic").expect("infallible").status(), 200);
}

#[tokio::test(start_paused = true)]
async fn asking_takes_no_permit_and_displaces_no_call_in_the_queue() {
    let middle = Middle::new(1, QueueBounds::new(1, 10 * SECOND));
    // The layer around a handler that needs no call: what it asks leaves no trace.
    let asking = middle.layer().layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(ok())));
    let running = tokio::spawn(middle.handler().oneshot(get(ORIGIN)));
    let queued = tokio::spawn(middle.handler().oneshot(get(ORIGIN)));
    sleep(MS).await;
    for _ in 0..100 {
        asking.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    }
    let limiter = middle.limits.limiter(&Uri::from_static(ORIGIN)).expect("known");
    assert_eq!((limiter.snapshot().in_flight, limiter.snapshot().queued), (1, 1));
    for call in [running, queued] {
        assert_eq!(call.await.expect("no panic").expect("infallible").status(), 200);
    }
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_in_a_dry_run_rejects_nothing_at_the_door_either() {
    let middle = Middle::new(1, QueueBounds::NONE);
    let dry = Middle { limits: middle.limits.clone().dry_run(true), ..middle };
    drop(dry.layer());
    let limiter = dry.limits.limiter(&Uri::from_static(ORIGIN));
    let service = dry.layer().layer(dry.handler());
    let responses = load(&service, 10 * MS, SECOND).await;
    assert!(limiter.is_some() && served(&responses) == responses.len());
}

/// Requests that hang in the handler, before their call, or behind it.
#[derive(Clone, Copy, Debug)]
enum Hangs {
    BeforeItsCall,
    AfterItsCall,
}

/// Requests served in twenty seconds of three times the capacity, while two of ten calls hang, which come this often a
/// second.
async fn served_beside(hangs: Hangs, per_second: u32, paced: bool) -> usize {
    let middle = Middle::new(4, QueueBounds::default());
    let handler = middle.handler();
    let service = service_fn(move |request: Request<()>| {
        let handler = handler.clone();
        async move {
            let is_stuck = request.headers().contains_key("x-hangs");
            if is_stuck && matches!(hangs, Hangs::BeforeItsCall) {
                pending::<()>().await;
            }
            let response = handler.oneshot(request).await;
            if is_stuck {
                pending::<()>().await;
            }
            response
        }
    });
    let service = middle.layer().pace_handlers(paced).layer(service);
    let hanging = tokio::spawn({
        let service = service.clone();
        async move {
            for _ in 0..20 * per_second {
                sleep(SECOND / per_second).await;
                let mut request = get(ORIGIN);
                request.headers_mut().insert("x-hangs", "1".parse().expect("a value"));
                tokio::spawn(service.clone().oneshot(request));
            }
        }
    });
    let responses = load(&service, SECOND / 120, 20 * SECOND).await;
    hanging.abort();
    let (served, (started, wasted)) = (served(&responses), middle.counts());
    println!(
        "{hangs:?}, {per_second}/s, paced {paced}: {served} served, {started} started, {wasted} in vain"
    );
    served
}

#[tokio::test(start_paused = true)]
async fn handlers_that_hang_take_little_capacity_of_the_origin_from_others() {
    for hangs in [Hangs::BeforeItsCall, Hangs::AfterItsCall] {
        // None of these is in step with the others, of which 120 come.
        let (mut paced, mut unpaced) = (0, 0);
        for per_second in [27, 29, 31, 33] {
            paced += served_beside(hangs, per_second, true).await;
            unpaced += served_beside(hangs, per_second, false).await;
        }
        println!("{hangs:?}: {paced} of {unpaced}");
        assert!(20 * paced >= 19 * unpaced, "{hangs:?}: {paced} of {unpaced}");
    }
}
