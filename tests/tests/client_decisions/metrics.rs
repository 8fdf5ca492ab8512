//! What operators see of the decisions of a client.

use backpressure_tests::recorded_metrics::RecordedMetrics;
use tower::{Layer, ServiceExt};
use tower_backpressure::{BreakerLayer, CooldownLayer, ThrottleLayer};

use super::{Arrivals, ORIGIN, get, reply, server};

#[tokio::test(start_paused = true)]
async fn decisions_of_a_client_are_counted_with_their_reasons_and_transitions() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let arrivals = Arrivals::new();
    let down = || server(&arrivals, |_| reply(503, &[("retry-after", "30")]));
    let cooldown = CooldownLayer::new("api").layer(down());
    let breaker = BreakerLayer::new("api").layer(down());
    let throttle = ThrottleLayer::new("api").seed(7).layer(down());
    for _ in 0..40 {
        cooldown.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        breaker.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        throttle.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    }
    let shed = |reason| recorded.counter(&format!("backpressure_requests_total api shed {reason}"));
    assert_eq!((shed("cooldown"), shed("breaker")), (36, 20));
    assert!((10..=20).contains(&shed("throttle")), "{}", shed("throttle"));
    let admitted = recorded.counter("backpressure_requests_total api admitted");
    assert_eq!(admitted, 120 - 36 - 20 - shed("throttle"));
    for (reason, to) in [("cooldown", "quiet"), ("breaker", "open")] {
        let name = format!("backpressure_transitions_total api {reason} {to}");
        assert_eq!(recorded.counter(&name), 1, "{name}");
    }
    assert_eq!(recorded.gauge("backpressure_held api"), 0.0);
}
