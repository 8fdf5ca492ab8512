//! What the metrics show of policies that have ended, as after a reload of the policy file or when a client is dropped.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::memory_store::{Behaviour, MemoryStore};
use backpressure_tests::recorded_metrics::RecordedMetrics;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::server::{QuotaKey, QuotaLayer, SharedQuota};
use tower_backpressure::{AdmissionLayer, QueueBounds, Quota, RetryLayer};

type Body = Full<Bytes>;

/// Sends a request through a layer to a service that answers after this time.
async fn send<L, S, B>(layer: &L, time: Duration) -> u16
where
    L: Layer<
            tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
            Service = S,
        >,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    let service = service_fn(move |_: Request<Body>| async move {
        sleep(time).await;
        Ok(Response::new(Body::default()))
    });
    let service = layer.layer(tower::util::BoxCloneSyncService::new(service));
    service.oneshot(Request::new(Body::default())).await.expect("no error").status().as_u16()
}

const NOW: Duration = Duration::ZERO;
const LIMITER_GAUGES: [&str; 4] = ["limit", "limit_min", "limit_max", "pressure"];

#[tokio::test(start_paused = true)]
async fn the_gauges_of_a_limiter_are_cleared_with_the_last_policy_of_its_name() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let gauges = || LIMITER_GAUGES.map(|it| recorded.gauge(&format!("backpressure_{it} replaced")));
    let layer =
        |limit| AdmissionLayer::adaptive("replaced").min(limit).max(limit).queue(QueueBounds::NONE);
    let reject = async |layer: &AdmissionLayer, limit: usize| {
        let permits: Vec<_> = (0..limit).map(|_| layer.limiter().try_acquire()).collect();
        assert_eq!(send(layer, NOW).await, 503);
        drop(permits);
    };
    let old = layer(3);
    reject(&old, 3).await;
    assert_eq!(gauges(), [3.0, 3.0, 3.0, 1.0]);
    // The new one begins before the old one has ended, whose last request ends later.
    let last = {
        let old = old.clone();
        tokio::spawn(async move { send(&old, Duration::from_secs(9)).await })
    };
    sleep(Duration::from_secs(1)).await;
    let new = layer(2);
    reject(&new, 2).await;
    drop(old);
    assert_eq!(gauges(), [2.0, 2.0, 2.0, 1.0]);
    assert_eq!(last.await.expect("no panic"), 200);
    assert_eq!(gauges()[..3], [2.0, 2.0, 2.0]);
    drop(new);
    assert_eq!(gauges(), [0.0; 4]);
    assert_eq!(recorded.gauge("backpressure_in_flight replaced"), 0.0);
    reject(&layer(5), 5).await;
    assert_eq!(gauges(), [0.0; 4]);
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_limit_are_counted_on_by_the_next_policy_of_the_name() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    for generation in 1..=4 {
        let layer = AdmissionLayer::fixed("generations", 8);
        for limit in [4, 5, 6] {
            layer.handle().pin(limit);
        }
        let _permits: Vec<_> = (0..6).map(|_| layer.limiter().try_acquire()).collect();
        layer.handle().stop();
        assert_eq!(send(&layer, NOW).await, 503);
        let changes = recorded.counter("backpressure_limit_changes_total generations operator");
        assert_eq!(changes, 3 * generation);
    }
}

#[tokio::test(start_paused = true)]
async fn the_balance_of_a_client_that_is_dropped_is_cleared() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layers = [RetryLayer::named("dropped"), RetryLayer::named("dropped")];
    for layer in &layers {
        assert_eq!(send(layer, NOW).await, 200);
    }
    let balance = || recorded.gauge("backpressure_retry_budget_balance dropped");
    let [one, other] = layers;
    drop(one);
    assert!(balance() > 0.0);
    drop(other);
    assert_eq!(balance(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_ends_while_its_store_fails_does_not_go_on_failing() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let failing = || recorded.gauge("backpressure_quota_store_failing ends");
    let start = || {
        let store = MemoryStore::default();
        let everything = |_: &http::request::Parts| Some(QuotaKey::from("tenant"));
        let shared = SharedQuota::new(store.clone()).lease(1);
        (QuotaLayer::per("ends", everything, Quota::per_second(50)).shared(shared), store)
    };
    let fail = async |(layer, store): &(QuotaLayer, MemoryStore)| {
        store.behave(Behaviour::Fails);
        for _ in 0..200 {
            let _ = send(layer, NOW).await;
            sleep(Duration::from_millis(10)).await;
        }
    };
    let (one, other) = (start(), start());
    fail(&one).await;
    assert_eq!(failing(), 1.0);
    fail(&other).await;
    other.1.behave(Behaviour::Answers(Duration::from_millis(1)));
    for _ in 0..300 {
        let _ = send(&other.0, NOW).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(failing(), 1.0, "that of one still fails");
    drop(one);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(failing(), 0.0);
}
