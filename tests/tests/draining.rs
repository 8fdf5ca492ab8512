//! A limiter that drains serves its queued requests and rejects new ones.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, SHED_REASON};

#[tokio::test(start_paused = true)]
async fn a_draining_limiter_serves_queued_requests_and_tells_new_ones_to_return_in_a_second() {
    let bounds = QueueBounds::new(100, Duration::from_secs(60));
    let layer = AdmissionLayer::fixed("api", 2).queue(bounds);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(300)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let sent_before_the_drain: Vec<_> =
        (0..50).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
    sleep(Duration::from_millis(100)).await;
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (2, 48));
    layer.limiter().drain();
    for _ in 0..10 {
        let rejected = service.clone().oneshot(Request::new(())).await.expect("infallible");
        assert_eq!(rejected.status(), 503);
        assert_eq!(rejected.headers()["retry-after"], "1");
        assert!(rejected.headers().contains_key(SHED_REASON), "another process can serve it");
        sleep(Duration::from_millis(100)).await;
    }
    for request in sent_before_the_drain {
        let response = request.await.expect("no panic").expect("infallible");
        assert_eq!(response.status(), 200);
    }
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
    let rejected = service.oneshot(Request::new(())).await.expect("infallible");
    assert_eq!(rejected.status(), 503, "an idle limiter that drains admits nothing either");
}
