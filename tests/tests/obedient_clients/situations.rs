//! The same where layers nest, and where floods come in bursts, over gRPC, in other priorities, or with work that takes
//! seconds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Priority, QueueBounds, RequestInfo, RetryLayer,
};

use super::{EmptyRequest, SharedService, Slots, Tally, at_random_times, open_loop};

type Erased = BoxCloneSyncService<EmptyRequest, Response<String>, Infallible>;

fn erase<S, B>(service: S) -> Erased
where
    S: Service<EmptyRequest, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: Body + Send + 'static,
{
    BoxCloneSyncService::new(service.map_response(|response| response.map(|_| String::new())))
}

/// A service of slots without a layer.
fn plain(slots: Slots) -> Erased {
    let free = Arc::new(Semaphore::new(slots.slots));
    BoxCloneSyncService::new(service_fn(move |_: EmptyRequest| {
        let free = Arc::clone(&free);
        async move {
            let _slot = free.acquire().await.expect("the semaphore is never closed");
            sleep(slots.time).await;
            Ok(Response::new(String::new()))
        }
    }))
}

/// A service whose requests are changed on their way.
fn changed(
    service: Erased,
    change: impl Fn(&mut EmptyRequest) + Clone + Send + Sync + 'static,
) -> Erased {
    erase(service.map_request(move |mut request: EmptyRequest| {
        change(&mut request);
        request
    }))
}

const SECONDS: f64 = 60.0;

/// Sends a tenth of the capacity through `RetryLayer`, and four times the capacity without it.
async fn beside_a_flood(name: &str, service: Erased, rude: Erased, slots: Slots) -> [Tally; 2] {
    let flood = tokio::spawn(open_loop(rude, 4.0 * slots.per_second(), SECONDS, 1));
    let obedient = RetryLayer::new().seed(7).layer(service);
    let rate = 0.1 * slots.per_second();
    let obedient = tokio::spawn(open_loop(obedient, rate, SECONDS, 2));
    let (flood, obedient) = (flood.await.expect("no panic"), obedient.await.expect("no panic"));
    println!(
        "{name}: obedient {:.3} of {}, flood {:.3}",
        obedient.share(),
        obedient.sent,
        flood.share()
    );
    [obedient, flood]
}

fn assert_obedience_pays(name: &str, [obedient, flood]: [Tally; 2]) {
    assert!(obedient.share() >= flood.share() && obedient.share() >= 0.85, "{name}: {obedient:?}");
}

const SHAPES: [Slots; 3] = [Slots::new(16, 100), Slots::new(4, 20), Slots::new(2, 200)];

#[tokio::test(start_paused = true)]
async fn where_a_bulkhead_inside_rejects() {
    for slots in SHAPES {
        for (kind, outside) in [
            ("fixed", AdmissionLayer::fixed("api", 4 * slots.slots)),
            ("adaptive", AdmissionLayer::adaptive("api")),
        ] {
            let inside = BulkheadLayer::new("inside", slots.slots).queue(QueueBounds::default());
            let service = erase(outside.layer(erase(inside.layer(plain(slots)))));
            let name = format!("{kind} around a bulkhead, {slots:?}");
            let tallies = beside_a_flood(&name, service.clone(), service, slots).await;
            assert_obedience_pays(&name, tallies);
        }
    }
}

/// Without a queue a permit cannot be kept for a request that comes back, so that each attempt is like another.
#[tokio::test(start_paused = true)]
async fn where_there_is_no_queue() {
    for slots in SHAPES {
        let layer = AdmissionLayer::fixed("api", slots.slots).queue(QueueBounds::NONE);
        let service = erase(layer.layer(plain(slots)));
        let name = format!("no queue, {slots:?}");
        let [obedient, flood] = beside_a_flood(&name, service.clone(), service, slots).await;
        assert!(obedient.share() >= flood.share(), "{name}: {obedient:?}, {flood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_flood_and_the_obedient_call_over_grpc() {
    for slots in SHAPES {
        let layer = AdmissionLayer::fixed("api", slots.slots);
        let service = changed(erase(layer.layer(plain(slots))), |request| {
            let kind = HeaderValue::from_static("application/grpc");
            request.headers_mut().insert(CONTENT_TYPE, kind);
        });
        // A rejected call has status 200, and another of its own.
        let told = service.clone().map_response(|mut response: Response<String>| {
            if response.headers().contains_key("grpc-status") {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        });
        let name = format!("gRPC, {slots:?}");
        let flood = tokio::spawn(open_loop(erase(told), 4.0 * slots.per_second(), SECONDS, 1));
        let obedient = RetryLayer::new().seed(7).layer(service);
        let call = || {
            let obedient = obedient.clone();
            async move {
                let response = obedient.oneshot(EmptyRequest::default()).await.expect("infallible");
                !response.headers().contains_key("grpc-status")
            }
        };
        let rate = 0.1 * slots.per_second();
        let obedient: Tally = at_random_times(rate, SECONDS, 2, call).await.into_iter().collect();
        let flood = flood.await.expect("no panic");
        println!("{name}: obedient {:.3}, flood {:.3}", obedient.share(), flood.share());
        assert_obedience_pays(&name, [obedient, flood]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_flood_has_a_lower_or_the_same_priority() {
    for slots in SHAPES {
        for priority in [Priority::Sheddable, Priority::Deferrable] {
            let of = |priority| {
                move |request: &mut EmptyRequest| {
                    let info = RequestInfo::default().priority(priority);
                    request.extensions_mut().insert(info);
                }
            };
            let layer = AdmissionLayer::fixed("api", slots.slots);
            let service = erase(layer.layer(plain(slots)));
            let obedient = changed(service.clone(), of(Priority::Deferrable));
            let name = format!("flood of {priority:?}, {slots:?}");
            let rude = changed(service, of(priority));
            assert_obedience_pays(&name, beside_a_flood(&name, obedient, rude, slots).await);
        }
    }
}

/// A crowd each second, all at the same moment.
async fn crowds(service: impl SharedService, count: usize) -> Tally {
    let end = Instant::now() + Duration::from_secs_f64(SECONDS);
    let mut sent = tokio::task::JoinSet::new();
    while Instant::now() < end {
        for _ in 0..count {
            let service = service.clone();
            sent.spawn(async move { super::send(service).await.status() == StatusCode::OK });
        }
        sleep(Duration::from_secs(1)).await;
    }
    sent.join_all().await.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn where_a_crowd_comes_at_the_same_moment_of_each_second() {
    for slots in SHAPES {
        let layer = AdmissionLayer::fixed("api", slots.slots);
        let service = erase(layer.layer(plain(slots)));
        let crowd = tokio::spawn(crowds(service.clone(), (4.0 * slots.per_second()) as usize));
        let obedient = RetryLayer::new().seed(7).layer(service);
        let rate = 0.1 * slots.per_second();
        let obedient = open_loop(obedient, rate, SECONDS, 2).await;
        let crowd = crowd.await.expect("no panic");
        println!(
            "crowds, {slots:?}: obedient {:.3}, crowds {:.3}",
            obedient.share(),
            crowd.share()
        );
        assert_obedience_pays("crowds", [obedient, crowd]);
    }
}
