//! When it is sent again, and when it is too late for that.

use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_backpressure::Deadline;
use tower_backpressure::{Attempts, RetryLayer};

use crate::near_end::{Arrivals, SECOND, answer, get, ok, rich, server};

#[tokio::test(start_paused = true)]
async fn nobody_comes_back_before_the_server_said() {
    let layer = RetryLayer::new().budget(rich());
    for _ in 0..100 {
        let arrivals = Arrivals::default();
        let [one, two] = ["1", "2"].map(|value| answer(503, &[("retry-after", value)]));
        let service = layer.layer(server(&arrivals, &[one, two, ok()]));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 200);
        let gaps = arrivals.gaps();
        assert!(gaps[0] >= SECOND, "{gaps:?}");
        assert!(gaps[1] >= 2 * SECOND, "{gaps:?}");
        // Tokio's timer counts in milliseconds and rounds up.
        let late = Duration::from_millis(1);
        assert!(gaps[0] <= 2 * SECOND + late, "{gaps:?}");
        assert!(gaps[1] <= 3 * SECOND + late, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_understands_is_left_to_the_backoff() {
    for nonsense in ["soon", "-1", "1.5", "", "0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let arrivals = Arrivals::default();
        let first = answer(503, &[("retry-after", nonsense)]);
        let service = RetryLayer::new().layer(server(&arrivals, &[first.clone(), first, ok()]));
        service.oneshot(get()).await.unwrap();
        let gaps = arrivals.gaps();
        // Tokio's timer counts in milliseconds and rounds up.
        assert!(gaps[0] <= Duration::from_millis(51), "{nonsense}: {gaps:?}");
        assert!(gaps[1] <= Duration::from_millis(101), "{nonsense}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_is_counted_from_the_servers_own_clock() {
    let arrivals = Arrivals::default();
    let first = answer(
        429,
        &[
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("date", "Sun, 06 Nov 1994 08:49:30 GMT"),
        ],
    );
    let service = RetryLayer::new().layer(server(&arrivals, &[first, ok()]));
    service.oneshot(get()).await.unwrap();
    let gap = arrivals.gaps()[0];
    assert!(gap >= 7 * SECOND && gap < 9 * SECOND, "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_nobody_would_sit_out_is_handed_over_at_once() {
    for long in ["61", "1742000000", "99999999999999999999"] {
        let arrivals = Arrivals::default();
        let layer = RetryLayer::new().deadline(Duration::MAX);
        let service = layer.layer(server(&arrivals, &[answer(429, &[("retry-after", long)])]));
        let start = Instant::now();
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.headers()["retry-after"], long);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(arrivals.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_past_the_deadline_is_not_begun() {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new().deadline(5 * SECOND);
    let busy = answer(503, &[("retry-after", "3")]);
    let service = layer.layer(server(&arrivals, &[busy]));
    let start = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    assert!(start.elapsed() < 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_comes_before_the_deadline() {
    // The second attempt comes after one second to two, a third would after two to four.
    let layer = RetryLayer::new().deadline(2 * SECOND).budget(rich());
    for _ in 0..20 {
        let arrivals = Arrivals::default();
        let service = layer.layer(server(&arrivals, &[answer(503, &[("retry-after", "1")])]));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_requests_own_counts_where_it_is_earlier() {
    let arrivals = Arrivals::default();
    let service =
        RetryLayer::new().layer(server(&arrivals, &[answer(503, &[("retry-after", "3")])]));
    let mut hurried = get();
    hurried.extensions_mut().insert(Deadline(Instant::now() + 2 * SECOND));
    let response = service.oneshot(hurried).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(1));
}

/// The waits of several callers who were all told the same.
async fn waits(layer: RetryLayer, callers: usize) -> Vec<Duration> {
    let layer = layer.budget(rich());
    let mut waits = Vec::new();
    for _ in 0..callers {
        let arrivals = Arrivals::default();
        let busy = answer(503, &[("retry-after", "1")]);
        let service = layer.layer(server(&arrivals, &[busy, ok()]));
        service.clone().oneshot(get()).await.unwrap();
        waits.extend(arrivals.gaps());
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn no_two_callers_draw_the_same_jitter() {
    let mut spread = waits(RetryLayer::new(), 20).await;
    spread.sort();
    spread.dedup();
    // Twenty draws of a thousand milliseconds may collide; that most do has no chance.
    assert!(spread.len() > 10, "{spread:?}");
}

#[tokio::test(start_paused = true)]
async fn layers_made_from_one_do_not_repeat_each_other() {
    let origin = RetryLayer::new().seed(42);
    let one = waits(origin.clone().max_attempts(2), 20).await;
    let other = waits(origin.max_attempts(2), 20).await;
    assert_ne!(one, other);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_waits() {
    let once = waits(RetryLayer::new().seed(42), 20).await;
    let again = waits(RetryLayer::new().seed(42), 20).await;
    let other = waits(RetryLayer::new().seed(43), 20).await;
    assert_eq!(once, again);
    assert_ne!(once, other);
}
