//! Charges to the retry budget, and refunds for retries that are not sent.

use std::convert::Infallible;

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
