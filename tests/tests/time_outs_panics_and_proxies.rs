//! What time-outs, panics and proxies that resend do to a limit and to a payment.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, QueueBounds, RetryLayer};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

type Call = Request<Full<Bytes>>;
type Erased = BoxCloneSyncService<Call, Response<()>, Infallible>;

const SECOND: Duration = Duration::from_secs(1);
const WORK: Duration = Duration::from_millis(50);
const SLOTS: usize = 8;

fn erase<S, B>(service: S) -> Erased
where
    S: Service<Call, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: 'static,
{
    BoxCloneSyncService::new(service.map_response(|response| response.map(drop)))
}

/// Requests take a slot for [`WORK`]; those to `/hangs` do so for ever, and `/panics` panics in a slot.
fn slots() -> impl Service<Call, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync {
    let free = Arc::new(Semaphore::new(SLOTS));
    service_fn(move |call: Call| {
        let free = Arc::clone(&free);
        async move {
            if call.uri().path() == "/hangs" {
                std::future::pending::<()>().await;
            }
            let _slot = free.acquire().await.expect("the semaphore is never closed");
            sleep(WORK).await;
            assert!(call.uri().path() != "/panics", "as it was asked to");
            Ok(Response::new(Full::default()))
        }
    })
}

/// Sends requests to a path at this rate for so many seconds; how many are served.
async fn send(service: &Erased, path: &'static str, rate: f64, seconds: u32) -> (usize, usize) {
    let mut sent = JoinSet::new();
    let count = (rate * f64::from(seconds)) as usize;
    for _ in 0..count {
        let call = Request::get(path).body(Full::default()).expect("a request");
        let response = service.clone().oneshot(call);
        sent.spawn(async move { response.await.expect("infallible").status() == StatusCode::OK });
        sleep(SECOND.div_f64(rate)).await;
    }
    let served = sent.join_all().await.into_iter().filter(|&served| served).count();
    (served, count)
}

/// Requests a second that the slots can do.
const CAPACITY: f64 = 160.0;

/// A minute in which all requests hang or panic, and then three times what the service can do.
async fn after_trouble(name: &str, layer: &AdmissionLayer, service: Erased, path: &'static str) {
    send(&service, "/", CAPACITY / 2.0, 20).await;
    let before = layer.snapshot().limit;
    send(&service, path, CAPACITY / 2.0, 60).await;
    let after = layer.snapshot().limit;
    send(&service, "/", 3.0 * CAPACITY, 10).await;
    let start = Instant::now();
    let (served, sent) = send(&service, "/", 3.0 * CAPACITY, 20).await;
    let goodput = served as f64 / (start.elapsed().as_secs_f64() * CAPACITY);
    println!("{name}: limit {before} → {after}, then {served} of {sent}, goodput {goodput:.3}");
    assert!(goodput >= 0.93, "{name}: {goodput:.3}");
    assert_eq!(layer.snapshot().in_flight, 0, "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_time_out_of_any_status_inside_the_layer_leaves_a_limit_that_serves() {
    for status in [StatusCode::REQUEST_TIMEOUT, StatusCode::GATEWAY_TIMEOUT, StatusCode::OK] {
        let layer = AdmissionLayer::adaptive("api");
        let timeouts = TimeoutLayer::with_status_code(status, SECOND);
        let service = erase(layer.layer(timeouts.layer(slots())));
        after_trouble(&format!("inside, {status}"), &layer, service, "/hangs").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_outside_of_the_layer_leaves_a_limit_that_serves() {
    let layer = AdmissionLayer::adaptive("api");
    let timeouts = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, SECOND);
    let service = erase(timeouts.layer(layer.layer(slots())));
    after_trouble("outside", &layer, service, "/hangs").await;
}

#[tokio::test(start_paused = true)]
async fn panics_that_are_caught_inside_or_outside_leave_a_limit_that_serves() {
    std::panic::set_hook(Box::new(|_| {}));
    for outside in [true, false] {
        let layer = AdmissionLayer::adaptive("api");
        let caught = CatchPanicLayer::new();
        let service = match outside {
            true => {
                erase(ServiceBuilder::new().layer(caught).layer(layer.clone()).service(slots()))
            }
            false => {
                erase(ServiceBuilder::new().layer(layer.clone()).layer(caught).service(slots()))
            }
        };
        after_trouble(&format!("caught outside: {outside}"), &layer, service, "/panics").await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_layer_twice_on_a_path_takes_two_permits_and_stops_no_service_for_good() {
    let layer = AdmissionLayer::fixed("api", 2);
    let service = erase(layer.layer(layer.layer(slots())));
    let (served, sent) = send(&service, "/", 10.0, 10).await;
    println!("{served} of {sent}");
    assert_eq!(served, sent, "a permit is free for the inner one");
    // Each holds a permit and waits for another, until the queue gives up.
    send(&service, "/", 100.0, 10).await;
    let (served, sent) = send(&service, "/", 10.0, 10).await;
    assert_eq!(served, sent, "it recovers");
}

/// A proxy that sends a request again, to another server, when the first has not answered after a second.
fn resending(first: Erased, second: Erased) -> Erased {
    BoxCloneSyncService::new(service_fn(move |call: Call| {
        let (first, second) = (first.clone(), second.clone());
        async move {
            let again = call.clone();
            match timeout(SECOND, first.oneshot(call)).await {
                Ok(response) => response,
                Err(_) => second.oneshot(again).await,
            }
        }
    }))
}

/// A server that takes the payment at once, and answers after some time.
fn pays(payments: &Arc<AtomicU64>, time: Duration) -> Erased {
    let payments = Arc::clone(payments);
    BoxCloneSyncService::new(service_fn(move |_: Call| {
        payments.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(time).await;
            Ok(Response::new(()))
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_that_resends_a_client_without_trust_repeats_no_payment() {
    let full = || AdmissionLayer::fixed("full", 1).queue(QueueBounds::NONE);
    for (trusts, method) in [(false, "POST"), (true, "POST"), (false, "PATCH"), (true, "PATCH")] {
        for limited in [full(), BulkheadLayer::new("full", 1).into()] {
            let payments = Arc::<AtomicU64>::default();
            let permit = limited.limiter().try_acquire().expect("it is free");
            let second = erase(
                limited.layer(
                    pays(&payments, WORK)
                        .map_response(|response| response.map(|()| Full::<Bytes>::default())),
                ),
            );
            let proxy = resending(pays(&payments, 5 * SECOND), second);
            let client = RetryLayer::new().trust_not_begun(trusts).seed(7);
            let service =
                client.layer(proxy.map_response(|it| it.map(|()| Full::<Bytes>::default())));
            let call = Request::builder().method(method).uri("http://pay/");
            let call = call.body(Full::default()).expect("a request");
            let response = service.oneshot(call).await.expect("infallible");
            let paid = payments.load(Ordering::Relaxed);
            println!("{method}, trusts {trusts}: {paid} payments, {}", response.status());
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(if trusts { paid > 1 } else { paid == 1 }, "{method}, {trusts}: {paid}");
            drop(permit);
        }
    }
}
