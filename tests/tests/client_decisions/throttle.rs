//! A throttle rejects in the client a share of what the origin would reject anyway.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use tower::{Layer, ServiceExt};
use tower_backpressure::{Priority, SHED_REASON, ThrottleLayer};

use super::{Arrivals, MS, ORIGIN, SECOND, get, is_local, load, ok, reply, retry_after, server};

#[tokio::test(start_paused = true)]
async fn an_origin_that_serves_a_tenth_of_the_requests_rejects_about_one_for_each_that_it_serves() {
    let arrivals = Arrivals::new();
    let layer = ThrottleLayer::new("search").seed(7);
    // It can serve a hundred a second, and ten at once.
    let bucket = Arc::new(Mutex::new((Duration::ZERO, 10.0)));
    let answer = move |at: Duration| {
        let (since, tokens) = &mut *bucket.lock().expect("no panic");
        *tokens = f64::min(10.0, *tokens + 100.0 * (at - *since).as_secs_f64());
        *since = at;
        if *tokens < 1.0 {
            return reply(503, &[]);
        }
        *tokens -= 1.0;
        ok()
    };
    let client = layer.layer(server(&arrivals, answer));
    load(&client, MS, 10 * SECOND).await;
    let responses = load(&client, MS, 20 * SECOND).await;
    let served = responses.iter().filter(|response| response.status() == 200).count();
    let rejected = responses.iter().filter(|it| it.status() == 503 && !is_local(it)).count();
    assert!(served >= 1_700, "{served} of 2000");
    assert!(rejected <= 2 * served, "{rejected} rejected, {served} served");
    let local = responses.iter().find(|response| is_local(response)).expect("a local rejection");
    assert_eq!(local.headers()[&SHED_REASON], "throttle");
    assert_eq!(retry_after(local), SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_rejects_a_share_by_chance_is_used_as_before_and_so_is_it_by_a_quiet_client()
{
    for (every, rejected, most) in [(MS, 0.4, 0.0), (10 * MS, 0.4, 0.01), (SECOND, 1.0, 0.0)] {
        let (seed, layer) = (fastrand::u64(..), ThrottleLayer::new("search"));
        let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let answer = move |_| match rng.lock().expect("no panic").f64() < rejected {
            true => reply(503, &[]),
            false => ok(),
        };
        let client = layer.layer(server(&Arrivals::new(), answer));
        // At the start, while there are few counts, chance decides more often.
        load(&client, every, 5 * SECOND).await;
        let responses = load(&client, every, 2_000 * every).await;
        let local = responses.iter().filter(|response| is_local(response)).count();
        assert!(local as f64 <= most * 2_000.0, "{local}, every {every:?}, seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_priority_is_throttled_by_itself() {
    let layer = ThrottleLayer::new("search").seed(7);
    let client = layer.layer(tower::service_fn(async |request: http::Request<()>| {
        let is_critical = request.extensions().get() == Some(&Priority::Critical);
        Ok::<_, std::convert::Infallible>(if is_critical { ok() } else { reply(429, &[]) })
    }));
    for _ in 0..200 {
        for priority in [Priority::Critical, Priority::Sheddable] {
            let mut request = get(ORIGIN);
            request.extensions_mut().insert(priority);
            let response = client.clone().oneshot(request).await.expect("infallible");
            assert!(priority == Priority::Sheddable || response.status() == 200);
        }
    }
    let origin = Uri::from_static(ORIGIN);
    assert_eq!(layer.rejected_share(&origin, Priority::Critical), 0.0);
    assert_eq!(layer.rejected_share(&origin, Priority::Sheddable), 0.9);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_accepts_again_is_used_again_within_seconds() {
    let arrivals = Arrivals::new();
    let answer = |at| if at < 30 * SECOND { reply(503, &[]) } else { ok() };
    let client = ThrottleLayer::new("search").seed(7).layer(server(&arrivals, answer));
    load(&client, MS, 40 * SECOND).await;
    let during = arrivals.between(10 * SECOND, 30 * SECOND);
    assert!((1_600..=2_400).contains(&during), "a tenth finds out: {during}");
    let after = arrivals.between(35 * SECOND, 40 * SECOND);
    assert!(after >= 4_500, "{after} of 5000");
}
