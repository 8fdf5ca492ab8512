//! A process that is about to end serves those who wait, and sends the others elsewhere.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, SHED_REASON};

#[tokio::test(start_paused = true)]
async fn a_drain_serves_those_who_wait_and_tells_newcomers_to_come_back_in_a_second() {
    let bounds = QueueBounds::new(100, Duration::from_secs(60));
    let layer = AdmissionLayer::fixed("api", 2).queue(bounds);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(300)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let before: Vec<_> =
        (0..50).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
    sleep(Duration::from_millis(100)).await;
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (2, 48));
    layer.limiter().drain();
    for _ in 0..10 {
        let refused = service.clone().oneshot(Request::new(())).await.expect("infallible");
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert!(refused.headers().contains_key(SHED_REASON), "another process can begin it");
        sleep(Duration::from_millis(100)).await;
    }
    for waited in before {
        let answer = waited.await.expect("no panic").expect("infallible");
        assert_eq!(answer.status(), 200);
    }
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
    let refused = service.oneshot(Request::new(())).await.expect("infallible");
    assert_eq!(refused.status(), 503, "an idle process that drains admits nothing either");
}
