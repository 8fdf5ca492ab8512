//! A breaker rejects requests while nearly all calls fail or are slow.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::{BreakerPhase, BreakerSnapshot};
use tower_backpressure::{BreakerLayer, Outcome, SHED_REASON};

use super::{
    Arrivals, MS, ORIGIN, Reply, SECOND, get, is_local, load, ok, reply, retry_after, server,
};

fn snapshot(layer: &BreakerLayer) -> BreakerSnapshot {
    layer.snapshot(&Uri::from_static(ORIGIN)).expect("a known origin")
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_down_gets_a_few_probes_and_is_used_again_when_it_is_back() {
    let arrivals = Arrivals::new();
    let answer = |at| if at < 30 * SECOND { reply(502, &[]) } else { ok() };
    let layer = BreakerLayer::new("search");
    let client = layer.layer(server(&arrivals, answer));
    let responses = load(&client, 10 * MS, 60 * SECOND).await;
    let meanwhile = arrivals.between(Duration::ZERO, 30 * SECOND);
    assert!(meanwhile <= 40, "{meanwhile}: 20 calls, and a probe every two seconds");
    let open = responses.iter().find(|response| is_local(response)).expect("it opened");
    assert_eq!(open.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(open.headers()[&SHED_REASON], "breaker");
    assert_eq!(retry_after(open), SECOND);
    assert_eq!(snapshot(&layer).phase, BreakerPhase::Closed);
    assert!(responses[3_250..].iter().all(|response| response.status() == 200));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_a_share_of_its_calls_or_is_busy_is_used_as_before() {
    let busy: [fn() -> Reply; 4] = [
        || reply(429, &[]),
        || reply(503, &[("x-shed-reason", "limit"), ("retry-after", "3")]),
        || reply(200, &[("grpc-status", "8")]),
        || reply(404, &[]),
    ];
    for response in busy {
        let layer = BreakerLayer::new("search");
        let client = layer.layer(server(&Arrivals::new(), move |_| response()));
        load(&client, MS, SECOND).await;
        assert_eq!(snapshot(&layer).phase, BreakerPhase::Closed, "{:?}", response());
    }
    for share in [2, 3, 5] {
        let (arrivals, layer) = (Arrivals::new(), BreakerLayer::new("search"));
        let count = arrivals.clone();
        let answer = move |_| if count.count() % share == 0 { ok() } else { reply(500, &[]) };
        let client = layer.layer(server(&arrivals, answer));
        let responses = load(&client, MS, 10 * SECOND).await;
        assert!(!responses.iter().any(is_local), "one in {share} succeeds");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_slow_calls_and_callers_that_leave_slow_calls_open_it() {
    let layer = BreakerLayer::new("search");
    let down = layer.layer(service_fn(async |_: Request<()>| Err::<Reply, _>("no route")));
    for _ in 0..20 {
        down.clone().oneshot(get(ORIGIN)).await.expect_err("the client's own error");
    }
    assert!(is_local(&down.clone().oneshot(get(ORIGIN)).await.expect("a rejection is a response")));

    for leaves in [false, true] {
        let layer = BreakerLayer::new("search").slow(SECOND).open_for(5 * SECOND);
        let client = layer.layer(service_fn(async |_: Request<()>| {
            sleep(3 * SECOND).await;
            Ok::<_, Infallible>(ok())
        }));
        let calls: Vec<_> =
            (0..20).map(|_| tokio::spawn(client.clone().oneshot(get(ORIGIN)))).collect();
        sleep(if leaves { 2 * SECOND } else { 4 * SECOND }).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        sleep(MS).await;
        assert_eq!(snapshot(&layer).phase, BreakerPhase::Open, "leaves: {leaves}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_on_failures_is_the_open_time() {
    let layer = BreakerLayer::new("search");
    let client = layer.layer(server(&Arrivals::new(), |_| reply(503, &[("retry-after", "12")])));
    load(&client, MS, SECOND / 10).await;
    let left = snapshot(&layer).left;
    assert!((11 * SECOND..=12 * SECOND).contains(&left), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn each_origin_has_a_breaker_of_its_own_and_a_rule_says_what_fails() {
    let layer = BreakerLayer::new("search")
        .failure_share(0.5)
        .min_calls(4)
        .classify(|head| (head.status == StatusCode::NOT_FOUND).then_some(Outcome::Failure));
    let client = layer.layer(server(&Arrivals::new(), |_| reply(404, &[])));
    load(&client, MS, 10 * MS).await;
    assert_eq!(snapshot(&layer).phase, BreakerPhase::Open);
    let other = client.clone().oneshot(get("http://there/")).await.expect("infallible");
    assert!(!is_local(&other));
    assert!(layer.snapshot(&Uri::from_static("http://nowhere/")).is_none());
}

#[tokio::test(start_paused = true)]
async fn cancelled_probes_leave_nothing_behind() {
    let arrivals = Arrivals::new();
    let layer = BreakerLayer::new("search").open_for(SECOND);
    let seen = arrivals.clone();
    let client = layer.layer(service_fn(move |_: Request<()>| {
        let at = seen.record();
        async move {
            sleep(50 * MS).await;
            Ok::<_, Infallible>(if at < SECOND { reply(500, &[]) } else { ok() })
        }
    }));
    load(&client, 10 * MS, SECOND).await;
    sleep(2 * SECOND).await;
    for _ in 0..1_000 {
        let call = tokio::spawn(client.clone().oneshot(get(ORIGIN)));
        sleep(MS).await;
        call.abort();
    }
    load(&client, 10 * MS, 5 * SECOND).await;
    assert_eq!(snapshot(&layer).phase, BreakerPhase::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sends_every_call_and_keeps_the_state() {
    let arrivals = Arrivals::new();
    let layer = BreakerLayer::new("search").dry_run(true);
    let client = layer.layer(server(&arrivals, |_| reply(500, &[])));
    let responses = load(&client, 10 * MS, SECOND).await;
    assert_eq!(arrivals.count(), responses.len());
    assert_eq!(snapshot(&layer).phase, BreakerPhase::Open);
}
