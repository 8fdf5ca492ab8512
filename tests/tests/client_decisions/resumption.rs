//! The end of a cool-down: one probe, and then more requests with each response.

use std::convert::Infallible;
use std::future::pending;

use backpressure_tests::seed::seeded_rng;
use http::{Request, Uri};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::client::CooldownPhase;
use tower_backpressure::{CooldownLayer, OriginLimitLayer, QueueBounds};

use super::{Arrivals, MS, ORIGIN, SECOND, get, is_local, ok, reply};

#[tokio::test(start_paused = true)]
async fn held_requests_follow_the_probe_twice_as_many_with_each_round_of_responses() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("search").hold(1_000, 10 * SECOND);
    let seen = arrivals.clone();
    let client = layer.layer(service_fn(move |_: Request<()>| {
        seen.record();
        let is_first = seen.count() == 1;
        async move {
            sleep(100 * MS).await;
            let told = || reply(429, &[("retry-after", "1")]);
            Ok::<_, Infallible>(if is_first { told() } else { ok() })
        }
    }));
    client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    let mut held = JoinSet::new();
    for _ in 0..200 {
        held.spawn(client.clone().oneshot(get(ORIGIN)));
    }
    let responses = held.join_all().await;
    assert!(responses.iter().all(|it| it.as_ref().is_ok_and(|it| it.status() == 200)));
    let at = arrivals.at.lock().expect("no panic").clone();
    let probe = at[1];
    let rounds: Vec<usize> = (0..9)
        .map(|n| arrivals.between(probe + n * 100 * MS, probe + (n + 1) * 100 * MS))
        .collect();
    assert_eq!(rounds[..7], [1, 2, 4, 8, 16, 32, 64], "{rounds:?}");
    assert_eq!(rounds.iter().sum::<usize>(), 200);
    let state = layer.snapshot(&Uri::from_static(ORIGIN)).expect("known");
    assert_eq!((state.phase, state.held), (CooldownPhase::Inactive, 0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_or_hangs_holds_the_others_for_a_second_at_most() {
    for hangs in [false, true] {
        let arrivals = Arrivals::new();
        let layer = CooldownLayer::new("search").hold(1_000, 10 * SECOND);
        let seen = arrivals.clone();
        let client = layer.layer(service_fn(move |_: Request<()>| {
            seen.record();
            let count = seen.count();
            async move {
                match count {
                    1 => Ok::<_, Infallible>(reply(429, &[("retry-after", "1")])),
                    2 => pending().await,
                    _ => Ok(ok()),
                }
            }
        }));
        client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        let probe = tokio::spawn(client.clone().oneshot(get(ORIGIN)));
        sleep(MS).await;
        let call = tokio::spawn(client.clone().oneshot(get(ORIGIN)));
        while arrivals.count() < 2 {
            sleep(MS).await;
        }
        let probed = arrivals.start.elapsed();
        if !hangs {
            probe.abort();
        }
        assert_eq!(call.await.expect("no panic").expect("infallible").status(), 200);
        let waited = arrivals.start.elapsed() - probed;
        let longest = if hangs { SECOND + 2 * MS } else { 2 * MS };
        assert!(waited <= longest, "{hangs}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_requests_leave_nothing_behind() {
    let (seed, mut rng) = seeded_rng();
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("search").hold(1_000, 3 * SECOND);
    let seen = arrivals.clone();
    let client = layer.layer(service_fn(move |_: Request<()>| {
        seen.record();
        let told = seen.count().is_multiple_of(50);
        async move {
            sleep(20 * MS).await;
            Ok::<_, Infallible>(if told { reply(429, &[("retry-after", "1")]) } else { ok() })
        }
    }));
    for _ in 0..2_000 {
        let call = tokio::spawn(client.clone().oneshot(get(ORIGIN)));
        let patience = rng.u32(0..60);
        tokio::spawn(async move {
            sleep(patience * MS).await;
            call.abort();
        });
        sleep(10 * MS).await;
    }
    sleep(10 * SECOND).await;
    // Whatever state it was left in, the next requests are served.
    let last = client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    assert!(!is_local(&last), "seed {seed}");
    let state = layer.snapshot(&Uri::from_static(ORIGIN)).expect("known");
    assert_eq!(state.held, 0, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn requests_in_the_queue_of_an_origin_limit_honour_a_cooldown_that_begins_meanwhile() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("search").hold(0, SECOND);
    let limits = OriginLimitLayer::new("search")
        .queue(QueueBounds::new(1_000, 10 * SECOND))
        .cooldown(&layer);
    let seen = arrivals.clone();
    let client = ServiceBuilder::new().layer(layer.clone()).layer(limits).service(service_fn(
        move |_: Request<()>| {
            seen.record();
            async move {
                sleep(100 * MS).await;
                Ok::<_, Infallible>(reply(429, &[("retry-after", "30")]))
            }
        },
    ));
    let mut calls = JoinSet::new();
    for _ in 0..300 {
        calls.spawn(client.clone().oneshot(get(ORIGIN)));
    }
    let responses = calls.join_all().await;
    assert_eq!(arrivals.count(), 100, "those in flight, and no other");
    let held_back = responses.iter().flatten().filter(|response| is_local(response)).count();
    assert_eq!(held_back, 200);
    for response in responses.iter().flatten().filter(|response| is_local(response)) {
        assert_eq!(response.headers()["x-shed-reason"], "cooldown");
        assert!((30..=33).contains(&super::retry_after(response).as_secs()));
    }
}
