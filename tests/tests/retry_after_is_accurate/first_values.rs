//! What is told before there is much to learn from.

use std::time::Duration;

use tokio::time::sleep;
use tower_backpressure::{AdmissionLayer, QueueBounds};

use super::{send, send_at_once, service_of};

#[tokio::test(start_paused = true)]
async fn the_first_retry_after_is_at_most_twice_the_latency_of_the_first_response() {
    for (limit, millis) in [(2, 300_u64), (1, 2_000), (4, 8_000)] {
        let layer = AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        assert_eq!(send(&service).await, Ok(()));
        let _running = send_at_once(&service, limit);
        sleep(Duration::from_millis(1)).await;
        let retry_after = send(&service).await.expect_err("no permit is free");
        println!("{limit} × {millis} ms: {retry_after} s");
        assert!(
            retry_after <= (2 * millis).div_ceil(1_000),
            "{limit} × {millis} ms: {retry_after} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_retry_after_is_two_seconds_before_any_response() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let service = service_of(&layer, Some(Duration::from_millis(300)));
    let _running = send_at_once(&service, 2);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(send(&service).await, Err(2));
}
