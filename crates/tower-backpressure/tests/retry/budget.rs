//! Charges to the retry budget, and refunds for retries that are not sent.

use std::convert::Infallible;
use std::time::Duration;

use http::Request;
use tokio::time::{advance, sleep, timeout};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{Attempts, RetryBudget, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, get, ok, response, server};

#[tokio::test(start_paused = true)]
async fn a_spent_budget_prevents_a_retry() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.0).reserve(1);
    let layer = RetryLayer::new().budget(budget);
    let service = layer.layer(server(&arrivals, &[response(503, &[])]));
    let first = service.clone().oneshot(get()).await.unwrap();
    let second = layer.layer(service.into_inner()).oneshot(get()).await.unwrap();
    assert_eq!(Attempts::of(first.extensions()), Attempts(2));
    assert_eq!(Attempts::of(second.extensions()), Attempts(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_during_the_wait_is_refunded_once() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.0).reserve(10);
    let busy = response(503, &[("retry-after", "10")]);
    let layer = RetryLayer::new().budget(budget.clone());
    let mut service = layer.layer(server(&arrivals, &[busy, ok()]));

    let cancelled = timeout(SECOND, service.call(get()));
    let charged = async {
        sleep(SECOND / 2).await;
        budget.balance()
    };
    let (cancelled, charged) = tokio::join!(cancelled, charged);
    assert!(cancelled.is_err());
    assert_eq!(charged, 9.0);
    assert_eq!(budget.balance(), 10.0);
    advance(20 * SECOND).await;
    assert_eq!(arrivals.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_cancelled_after_it_was_sent_is_not_refunded() {
    let budget = RetryBudget::new(0.0).reserve(10);
    let arrivals = Arrivals::default();
    let recorder = arrivals.clone();
    let stuck = service_fn(move |_: Request<()>| {
        let first = recorder.record() == 1;
        async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(response(503, &[("retry-after", "1")]))
        }
    });
    let service = RetryLayer::new().budget(budget.clone()).layer(stuck);
    assert!(timeout(10 * SECOND, service.oneshot(get())).await.is_err());
    assert_eq!(arrivals.count(), 2);
    assert_eq!(budget.balance(), 9.0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_failed_server_send_no_more_retries_than_the_budget_allows() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.1).reserve(10);
    let layer = RetryLayer::new().budget(budget);
    let service = layer.layer(server(&arrivals, &[response(503, &[])]));
    let callers: Vec<_> =
        (0..1_000).map(|_| tokio::spawn(service.clone().oneshot(get()))).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 503);
    }
    assert!(arrivals.count() <= 1_000 + 100 + 10, "{}", arrivals.count());
    assert!(arrivals.count() >= 1_000 + 100, "the budget must also be usable");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_before_the_service_inside_is_ready_is_refunded() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.0).reserve(10);
    let busy = response(503, &[("retry-after", "2")]);
    let limited = ConcurrencyLimit::new(server(&arrivals, &[busy, ok()]), 1);
    let layer = RetryLayer::new().budget(budget.clone());
    let waiting = timeout(10 * SECOND, layer.layer(limited.clone()).oneshot(get()));
    let occupying = async {
        sleep(SECOND).await;
        // A service that is ready and never called holds the only permit.
        let mut limited = limited;
        limited.ready().await.unwrap();
        sleep(20 * SECOND).await;
    };
    let (waiting, ()) = tokio::join!(waiting, occupying);
    assert!(waiting.is_err());
    assert_eq!(arrivals.count(), 1);
    assert_eq!(budget.balance(), 10.0);
}

/// Sends requests this far apart, whose first attempts fail, and returns how many were served.
async fn served_of_a_hundred(apart: Duration, layer: RetryLayer) -> usize {
    let mut served = 0;
    for _ in 0..100 {
        let arrivals = Arrivals::default();
        let service = layer.layer(server(&arrivals, &[response(502, &[]), ok()]));
        let response = service.oneshot(get()).await.unwrap();
        served += usize::from(response.status() == 200);
        sleep(apart).await;
    }
    served
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_always_has_a_retry() {
    for seconds in [5, 10, 60] {
        let apart = Duration::from_secs(seconds);
        assert_eq!(served_of_a_hundred(apart, RetryLayer::new()).await, 100, "{apart:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_request_a_second_gets_its_reserve_and_then_one_retry_in_five_seconds() {
    // 11 of the reserve and of what it earns meanwhile; then one by time before the ratio makes one.
    let served = served_of_a_hundred(SECOND, RetryLayer::new()).await;
    assert!((26..=30).contains(&served), "{served}");
}

#[tokio::test(start_paused = true)]
async fn one_failing_origin_does_not_spend_the_retries_of_another() {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new().budget(RetryBudget::new(0.0).reserve(2).per_origin());
    let service = layer.layer(server(&arrivals, &[response(502, &[])]));
    let attempts = |uri: &'static str| {
        let call = service.clone().oneshot(Request::get(uri).body(()).unwrap());
        async { Attempts::of(call.await.unwrap().extensions()).0 }
    };
    assert_eq!(attempts("http://failing.example/a").await, 3);
    assert_eq!(attempts("http://FAILING.example/b").await, 1, "its two retries are spent");
    assert_eq!(attempts("http://other.example/").await, 3);
    assert_eq!(attempts("https://failing.example/").await, 3, "another scheme is another origin");
}

#[tokio::test(start_paused = true)]
async fn with_the_rule_of_grpc_failures_throttle_retries_and_successes_repair_them() {
    let budget = RetryBudget::grpc(4, 0.5);
    let layer = RetryLayer::new().budget(budget.clone());
    let arrivals = Arrivals::default();
    let failing = layer.layer(server(&arrivals, &[response(502, &[])]));
    let last = failing.oneshot(get()).await.unwrap();
    assert_eq!(Attempts::of(last.extensions()), Attempts(2), "the second failure leaves 2 of 4");
    assert_eq!(budget.balance(), 2.0);
    layer.layer(server(&arrivals, &[ok()])).oneshot(get()).await.unwrap();
    assert_eq!(budget.balance(), 2.5);
}

#[tokio::test(start_paused = true)]
async fn with_the_rule_of_aws_a_success_returns_the_price_of_its_retry() {
    let budget = RetryBudget::aws();
    let layer = RetryLayer::new().budget(budget.clone());
    for (responses, balance) in [
        (vec![response(502, &[])], 490.0),
        (vec![ok()], 491.0),
        (vec![response(502, &[]), ok()], 491.0),
    ] {
        let service = layer.layer(server(&Arrivals::default(), &responses));
        service.oneshot(get()).await.unwrap();
        assert_eq!(budget.balance(), balance);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_that_are_cancelled_at_random_points_balance() {
    let budget = RetryBudget::new(0.0).reserve(100_000).refill(Duration::ZERO);
    let layer = RetryLayer::new().budget(budget.clone());
    let arrivals = Arrivals::default();
    let service = layer.layer(server(&arrivals, &[response(503, &[("retry-after", "1")])]));
    let mut random = fastrand::Rng::with_seed(3);
    let calls: Vec<_> = (0..10_000)
        .map(|_| {
            let patience = Duration::from_millis(random.u64(0..5_000));
            tokio::spawn(timeout(patience, service.clone().oneshot(get())))
        })
        .collect();
    for call in calls {
        let _ = call.await.unwrap();
    }
    let retries = arrivals.count() - 10_000;
    let snapshot = budget.snapshot();
    assert_eq!(snapshot.granted, retries as u64, "each retry that was paid for was sent");
    assert_eq!(snapshot.balance, (100_000 - retries) as f64);
    assert!(retries > 5_000 && snapshot.denied == 0, "{retries}");
}

#[tokio::test(start_paused = true)]
async fn by_default_each_origin_has_a_budget_of_its_own() {
    let arrivals = Arrivals::default();
    let failing = RetryLayer::new().layer(server(&arrivals, &[response(502, &[])]));
    let attempts = |uri: &'static str| {
        let call = failing.clone().oneshot(Request::get(uri).body(()).unwrap());
        async { Attempts::of(call.await.unwrap().extensions()).0 }
    };
    for _ in 0..20 {
        attempts("http://dead.example/").await;
    }
    assert!(attempts("http://dead.example/").await < 3, "its retries are spent");
    assert_eq!(attempts("http://other.example/").await, 3);
}
