//! When a request is sent again, and when the wait would be too long.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tower::service_fn;

use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_backpressure::Deadline;
use tower_backpressure::{Attempts, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, ample_budget, get, ok, response, server};

#[tokio::test(start_paused = true)]
async fn no_retry_is_sent_before_the_servers_retry_after() {
    let layer = RetryLayer::new().budget(ample_budget());
    for _ in 0..100 {
        let arrivals = Arrivals::default();
        let [one, two] = ["1", "2"].map(|value| response(503, &[("retry-after", value)]));
        let service = layer.layer(server(&arrivals, &[one, two, ok()]));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 200);
        let gaps = arrivals.gaps();
        assert!(gaps[0] >= SECOND, "{gaps:?}");
        assert!(gaps[1] >= 2 * SECOND, "{gaps:?}");
        // Tokio's timer counts in milliseconds and rounds up.
        let timer_error = Duration::from_millis(1);
        assert!(gaps[0] <= 2 * SECOND + timer_error, "{gaps:?}");
        assert!(gaps[1] <= 3 * SECOND + timer_error, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_rejection_until_now_a_retry_is_sent_within_a_second() {
    for value in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let gaps = gaps_after(&RetryLayer::new(), &[("retry-after", value)]).await;
            longest = gaps.into_iter().fold(longest, Duration::max);
        }
        // Tokio's timer counts in milliseconds and rounds up.
        assert!((900..=1_001).contains(&longest.as_millis()), "{value}: {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_of_zero_in_milliseconds_or_on_no_rejection_leaves_the_wait_to_the_backoff() {
    for (status, field) in [(429, "retry-after-ms"), (502, "retry-after"), (408, "retry-after")] {
        let arrivals = Arrivals::default();
        let failed = || response(status, &[(field, "0")]);
        let service = RetryLayer::new().layer(server(&arrivals, &[failed(), failed(), ok()]));
        assert_eq!(service.oneshot(get()).await.unwrap().status(), 200);
        let gaps = arrivals.gaps();
        assert!(gaps[0] <= Duration::from_millis(51), "{status}: {gaps:?}");
        assert!(gaps[1] <= Duration::from_millis(101), "{status}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_servers_send_against_the_grammar_is_waited_for() {
    for (value, millis) in
        [("1.5", 1_500), ("2, 3", 3_000), ("6s", 6_000), ("soon", 1_000), ("", 1_000)]
    {
        let gaps = gaps_after(&RetryLayer::new(), &[("retry-after", value)]).await;
        assert!(gaps.iter().all(|gap| gap.as_millis() >= millis), "{value}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_strict_mode_a_value_against_the_grammar_counts_as_none() {
    let layer = RetryLayer::new().strict_retry_after(true);
    let gaps = gaps_after(&layer, &[("retry-after", "9.5")]).await;
    assert!(gaps[0] >= SECOND && gaps[0] <= 3 * SECOND, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_without_a_time_is_retried_after_a_second_at_the_earliest() {
    let gaps = gaps_after(&RetryLayer::new(), &[]).await;
    assert!(gaps[0] >= SECOND && gaps[1] >= 2 * SECOND, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forbids_a_retry_gets_none() {
    for field in [("retry-after", "-1"), ("x-should-retry", "false")] {
        let arrivals = Arrivals::default();
        let service = RetryLayer::new().layer(server(&arrivals, &[response(503, &[field])]));
        assert_eq!(service.oneshot(get()).await.unwrap().status(), 503);
        assert_eq!(arrivals.count(), 1, "{field:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_does_not_spend_the_time_left_until_the_deadline() {
    for seed in 0..100 {
        let arrivals = Arrivals::default();
        let layer = RetryLayer::new().deadline(Duration::from_millis(1_200)).seed(seed);
        let first = response(429, &[("retry-after", "1")]);
        let service = layer.layer(server(&arrivals, &[first, ok()]));
        assert_eq!(service.oneshot(get()).await.unwrap().status(), 200, "seed {seed}");
    }
}

/// The times between three attempts, of which the first two get a 503 with these fields.
async fn gaps_after(layer: &RetryLayer, fields: &[(&'static str, &'static str)]) -> Vec<Duration> {
    let arrivals = Arrivals::default();
    let rejection = response(503, fields);
    let service = layer.layer(server(&arrivals, &[rejection.clone(), rejection, ok()]));
    service.oneshot(get()).await.unwrap();
    arrivals.gaps()
}

#[tokio::test(start_paused = true)]
async fn a_date_is_counted_from_the_servers_clock() {
    let arrivals = Arrivals::default();
    let first = response(
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
async fn a_response_that_asks_for_too_long_a_wait_is_returned_at_once() {
    for long in ["61", "1742000000", "99999999999999999999"] {
        let arrivals = Arrivals::default();
        let layer = RetryLayer::new().deadline(Duration::MAX);
        let service = layer.layer(server(&arrivals, &[response(429, &[("retry-after", long)])]));
        let start = Instant::now();
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.headers()["retry-after"], long);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(arrivals.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_end_after_the_deadline_is_not_begun() {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new().deadline(5 * SECOND);
    let busy = response(503, &[("retry-after", "3")]);
    let service = layer.layer(server(&arrivals, &[busy]));
    let start = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    assert!(start.elapsed() < 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_sent_before_the_deadline() {
    // The second attempt is sent after one to two seconds; a third would be after two to four.
    let layer = RetryLayer::new().deadline(2 * SECOND).budget(ample_budget());
    for _ in 0..20 {
        let arrivals = Arrivals::default();
        let service = layer.layer(server(&arrivals, &[response(503, &[("retry-after", "1")])]));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(Attempts::of(response.extensions()), Attempts(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_requests_own_deadline_counts_where_it_is_earlier() {
    let arrivals = Arrivals::default();
    let service =
        RetryLayer::new().layer(server(&arrivals, &[response(503, &[("retry-after", "3")])]));
    let mut request = get();
    request.extensions_mut().insert(Deadline(Instant::now() + 2 * SECOND));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(1));
}

/// The waits of several callers that got the same response.
async fn waits(layer: RetryLayer, callers: usize) -> Vec<Duration> {
    let layer = layer.budget(ample_budget());
    let mut waits = Vec::new();
    for _ in 0..callers {
        let arrivals = Arrivals::default();
        let busy = response(503, &[("retry-after", "1")]);
        let service = layer.layer(server(&arrivals, &[busy, ok()]));
        service.clone().oneshot(get()).await.unwrap();
        waits.extend(arrivals.gaps());
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn callers_draw_different_jitter() {
    let mut distinct = waits(RetryLayer::new(), 20).await;
    distinct.sort();
    distinct.dedup();
    // A few of twenty draws from a thousand milliseconds may be equal, but not half of them.
    assert!(distinct.len() > 10, "{distinct:?}");
}

#[tokio::test(start_paused = true)]
async fn clones_of_one_layer_draw_different_jitter() {
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

/// A quota of two requests a second that says in whole seconds when the next one is allowed, rounded down.
fn quota_that_rounds_down(
    arrivals: &Arrivals,
) -> impl tower::Service<
    Request<()>,
    Response = http::Response<String>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<> {
    let (next, arrivals) = (Arc::new(Mutex::new(Instant::now())), arrivals.clone());
    service_fn(move |_: Request<()>| {
        arrivals.record();
        let (mut next, now) = (next.lock().unwrap(), Instant::now());
        let left = next.saturating_duration_since(now);
        let answer = match left.is_zero() {
            true => {
                *next = now + SECOND / 2;
                ok()
            }
            false => response(429, &[("retry-after", &left.as_secs().to_string())]),
        };
        ready(Ok::<_, Infallible>(answer))
    })
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_rounds_less_than_a_second_down_to_zero_is_waited_for() {
    let (arrivals, layer) = (Arrivals::default(), RetryLayer::new().budget(ample_budget()));
    let client = layer.layer(quota_that_rounds_down(&arrivals));
    let mut served = 0;
    for _ in 0..100 {
        served += usize::from(client.clone().oneshot(get()).await.unwrap().status() == 200);
    }
    assert!(served >= 50, "{served} of 100");
}
