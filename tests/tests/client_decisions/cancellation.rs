//! Requests that are cancelled at any point leave nothing behind in any layer of the stack.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use backpressure_tests::seed::seeded_rng;
use http::{Request, Uri};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::{BreakerPhase, CooldownPhase};
use tower_backpressure::{
    BreakerLayer, ClientStack, CooldownLayer, OriginLimitLayer, RetryBudget, RetryLayer,
};

use super::{MS, Reply, SECOND, get, ok, reply};

const ORIGINS: [&str; 4] = ["http://a/", "http://b/", "http://c/", "http://d/"];

/// What a server does with a request, by a random number.
async fn respond(dice: u32, is_well: bool) -> Result<Reply, &'static str> {
    let is_well = is_well || dice.is_multiple_of(3);
    sleep((dice % 97) * MS).await;
    match dice % 10 {
        _ if is_well => Ok(ok()),
        0..4 => Ok(reply(429, &[("retry-after", "1")])),
        4..6 => Ok(reply(503, &[("retry-after", "2")])),
        6 => Ok(reply(500, &[])),
        7 => Err("reset"),
        8 => pending().await,
        _ => Ok(reply(503, &[])),
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_requests_leave_no_permit_no_place_and_no_state() {
    let (seed, mut rng) = seeded_rng();
    let is_well = Arc::new(AtomicBool::new(false));
    let (well, dice) = (Arc::clone(&is_well), Arc::new(std::sync::Mutex::new(rng.fork())));
    let server = service_fn(move |_: Request<()>| {
        let dice = dice.lock().expect("no panic").u32(..);
        respond(dice, well.load(SeqCst))
    });
    let budget = RetryBudget::new(1.0);
    let (cooldown, breaker) =
        (CooldownLayer::new("all"), BreakerLayer::new("all").failure_share(0.5));
    let limits = OriginLimitLayer::new("all");
    let client = ClientStack::new("all")
        .retry(RetryLayer::named("all").budget(budget.clone()))
        .cooldown(cooldown.clone())
        .origin_limit(limits.clone())
        .breaker(breaker.clone())
        .attempt_timeout(2 * SECOND)
        .layer(server);
    for _ in 0..10_000 {
        let origin = ORIGINS[rng.usize(..4)];
        let call = tokio::spawn(client.clone().oneshot(get(origin)));
        let patience = rng.u32(0..3_000);
        tokio::spawn(async move {
            sleep(patience * MS).await;
            call.abort();
        });
        sleep(rng.u32(0..10) * MS).await;
    }
    is_well.store(true, SeqCst);
    sleep(150 * SECOND).await;
    for _ in 0..100 {
        for origin in ORIGINS {
            let status = client.clone().oneshot(get(origin)).await.expect("a response").status();
            assert_eq!(status, 200, "seed {seed}");
        }
    }
    for origin in ORIGINS.map(Uri::from_static) {
        let state = limits.limiter(&origin).expect("known").snapshot();
        assert_eq!((state.in_flight, state.queued), (0, 0), "seed {seed}");
        let state = cooldown.snapshot(&origin).expect("known");
        assert_eq!((state.phase, state.held), (CooldownPhase::Inactive, 0), "seed {seed}");
        let state = breaker.snapshot(&origin).expect("known");
        assert_eq!(state.phase, BreakerPhase::Closed, "seed {seed}");
    }
    assert!(budget.balance() > 0.0, "seed {seed}");
}
