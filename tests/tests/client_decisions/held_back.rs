//! Requests that a cool-down or a limit of the client rejects: they were not sent, and cost the budget nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::client::ClientStack;
use tower_backpressure::{BreakerLayer, RetryBudget, RetryLayer};

use super::{Arrivals, MS, ORIGIN, Reply, SECOND, get, ok, reply};

/// How the requests of one load ended.
struct Ends {
    served: usize,
    /// How long those took that were not served.
    failed_after: Vec<Duration>,
}

impl Ends {
    /// Sends requests this far apart.
    async fn of<S, B>(client: &S, requests: u32, apart: Duration) -> Self
    where
        S: Service<Request<()>, Response = http::Response<B>, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let (start, mut calls) = (Instant::now(), JoinSet::new());
        for index in 0..requests {
            sleep_until(start + index * apart).await;
            let client = client.clone();
            calls.spawn(async move {
                let began = Instant::now();
                let response = client.oneshot(get(ORIGIN)).await.expect("infallible");
                (response.status() == 200, began.elapsed())
            });
        }
        let (served, failed): (Vec<_>, Vec<_>) =
            calls.join_all().await.into_iter().partition(|(is_served, _)| *is_served);
        let failed_after = failed.into_iter().map(|(_, took)| took).collect();
        Self { served: served.len(), failed_after }
    }

    fn mean_time_to_failure(&self) -> Duration {
        self.failed_after.iter().sum::<Duration>() / self.failed_after.len() as u32
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_is_held_back_is_served_once_the_origin_serves_again() {
    for crowd in [300, 3_000, 10_000] {
        let arrivals = Arrivals::new();
        let seen = arrivals.clone();
        let origin = service_fn(move |_: Request<()>| {
            let is_rejected = seen.record() < SECOND;
            async move {
                sleep(20 * MS).await;
                let told = reply(429, &[("retry-after", "1")]);
                Ok::<Reply, Infallible>(if is_rejected { told } else { ok() })
            }
        });
        let client = ClientStack::new("crowd").layer(origin);
        let ends = Ends::of(&client, crowd, Duration::ZERO).await;
        let rejected = arrivals.between(Duration::ZERO, SECOND);
        // Those that the origin has rejected are retried as far as the crowd has paid for it.
        assert!(rejected <= 128, "{rejected} of {crowd}");
        let retried = rejected.min(crowd as usize / 10);
        assert_eq!(ends.served, crowd as usize - rejected + retried, "of {crowd}");
        assert_eq!(arrivals.count(), rejected + ends.served, "of {crowd}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_a_capacity_that_does_not_return_fail_soon() {
    let slots = Arc::new(Semaphore::new(4));
    let origin = service_fn(move |_: Request<()>| {
        let slots = Arc::clone(&slots);
        async move {
            let _slot = slots.acquire().await.expect("never closed");
            sleep(20 * MS).await;
            Ok::<_, Infallible>(ok())
        }
    });
    // 200 a second are possible.
    let client = ClientStack::new("overloaded").layer(origin);
    let ends = Ends::of(&client, 18_000, SECOND / 600).await;
    assert!(ends.served >= 5_700, "{}", ends.served);
    assert!(ends.mean_time_to_failure() < 2 * SECOND, "{:?}", ends.mean_time_to_failure());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_breaker_rejects_waits_only_within_the_budget() {
    let budget = RetryBudget::new(0.0).reserve(2).refill(Duration::ZERO);
    let breaker = BreakerLayer::new("down").min_calls(2).failure_share(0.5).open_for(5 * SECOND);
    let client = ClientStack::new("down")
        .retry(RetryLayer::named("down").budget(budget.clone()))
        .breaker(breaker)
        .layer(service_fn(async |_: Request<()>| Ok::<Reply, Infallible>(reply(500, &[]))));
    Ends::of(&client, 2, MS).await;
    let ends = Ends::of(&client, 10, Duration::ZERO).await;
    let at_once = ends.failed_after.iter().filter(|after| after.is_zero()).count();
    assert_eq!((at_once, budget.balance()), (8, 0.0));
}
