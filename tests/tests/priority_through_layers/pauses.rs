//! Pauses, and limits that an operator or a suspension changes in the middle of a flood.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};
use tower::ServiceExt;
use tower_backpressure::{AdmissionLayer, Priority, QueueBounds, RequestInfo};

use super::world::{Call, Slots, Stack, send_all};
use super::{assert_higher_are_served, traffic};

const SECOND: Duration = Duration::from_secs(1);

/// Sends this many requests at one moment; how many are served.
fn burst(stack: &Stack, priority: Priority, count: usize) -> JoinSet<bool> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (stack, mut call) = (stack.clone(), Call::default());
        call.extensions_mut().insert(RequestInfo::default().priority(priority));
        calls.spawn(async move {
            stack.service.oneshot(call).await.expect("infallible").status() == 200
        });
    }
    calls
}

async fn served(calls: JoinSet<bool>) -> usize {
    calls.join_all().await.into_iter().filter(|&served| served).count()
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fills_during_a_pause_gives_way_to_higher_priorities() {
    for queue in [QueueBounds::NONE, QueueBounds::new(64, SECOND), QueueBounds::default()] {
        let layer = AdmissionLayer::fixed("api", 32).queue(queue);
        let stack = Slots::new(32, 20).behind(layer.clone());
        layer.handle().pause(5 * SECOND);
        let low = burst(&stack, Priority::Sheddable, 3_000);
        sleep(SECOND).await;
        let high = burst(&stack, Priority::Critical, 200);
        sleep(SECOND).await;
        let normal = burst(&stack, Priority::Normal, 200);
        let queued = layer.snapshot().queued;
        let (high, normal, low) = (served(high).await, served(normal).await, served(low).await);
        println!("{queue:?}: {queued} queued, {high} critical, {normal} normal, {low} sheddable");
        assert_eq!((high, normal), (200, 200), "{queue:?}");
        assert!(low > 0, "{queue:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_an_operator_lowers_in_a_flood_is_that_of_the_lowest_priority() {
    let slots = Slots::new(32, 50);
    let layer = AdmissionLayer::fixed("api", 32).delay_rejections(0);
    let handle = layer.handle().clone();
    let operator = tokio::spawn(async move {
        loop {
            handle.set_max(24);
            sleep(Duration::from_millis(700)).await;
            handle.set_max(32);
            sleep(Duration::from_millis(300)).await;
        }
    });
    let tallies = send_all("lowered", &slots.behind(layer), traffic(slots), [5.0, 25.0]).await;
    operator.abort();
    assert_higher_are_served("lowered", tallies);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_suspended_serves_higher_priorities_first() {
    let slots = Slots::new(16, 50);
    let layer = AdmissionLayer::fixed("api", 16).delay_rejections(0);
    let stack = slots.behind(layer);
    let suspensions = tokio::spawn(async {
        loop {
            sleep(10 * SECOND).await;
            advance(3 * SECOND).await;
        }
    });
    let [critical, normal, _] = send_all("suspended", &stack, traffic(slots), [5.0, 45.0]).await;
    suspensions.abort();
    assert_eq!(critical.passed + normal.passed, 0, "{critical:?}, {normal:?}");
    // What has come in three seconds of the higher priorities takes two, and a request is queued for one.
    assert!(critical.share() >= 0.999 && normal.share() >= 0.7, "{critical:?}, {normal:?}");
}
