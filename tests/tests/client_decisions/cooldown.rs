//! What one caller was told quiets all callers of that origin.

use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Method, Request, Response, StatusCode, Uri};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_backpressure::client::{CooldownPhase, CooldownSnapshot};
use tower_backpressure::{
    AdmissionLayer, ClientStack, CooldownLayer, Deadline, RetryBudget, RetryLayer, SHED_REASON,
    Shed,
};

use super::{Arrivals, MS, ORIGIN, SECOND, get, is_local, load, ok, reply, retry_after, server};

fn told(status: u16, after: &'static str) -> Response<ScriptedBody> {
    reply(status, &[("retry-after", after)])
}

fn snapshot(layer: &CooldownLayer) -> CooldownSnapshot {
    layer.snapshot(&Uri::from_static(ORIGIN)).expect("a known origin")
}

/// CASES.md C13.
#[tokio::test(start_paused = true)]
async fn an_origin_that_tells_all_callers_to_come_back_later_is_asked_once_a_cooldown() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("search").seed(1);
    let client = layer.layer(server(&arrivals, |_| told(429, "2")));
    let responses = load(&client, SECOND / 20, 20 * SECOND).await;
    assert!(responses.iter().all(|response| response.status() == 429 || is_local(response)));
    // Each cool-down is two to three seconds.
    assert!((6..=10).contains(&arrivals.count()), "{}", arrivals.count());
}

#[tokio::test(start_paused = true)]
async fn the_time_in_a_response_that_is_no_rejection_holds_no_other_request_back() {
    for status in [200, 201, 202, 206, 301, 303, 304, 307, 400, 404, 409, 413] {
        let arrivals = Arrivals::new();
        let client = ClientStack::new("jobs").layer(server(&arrivals, move |_| told(status, "30")));
        let responses = load(&client, SECOND / 20, 2 * SECOND).await;
        assert!(responses.iter().all(|response| response.status() == status), "{status}");
        assert_eq!(arrivals.count(), responses.len(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_in_a_cooldown_tells_the_time_that_is_left_and_is_marked_as_not_sent() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("search").hold(0, Duration::ZERO);
    let client = layer.layer(server(&arrivals, |_| told(429, "30")));
    client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    let full = snapshot(&layer).left;
    assert!((30 * SECOND..=33 * SECOND).contains(&full), "{full:?}");
    for passed in [0, 10, 29] {
        let start = Instant::now();
        let response = client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[&SHED_REASON], "cooldown");
        let left = response.extensions().get::<Shed>().expect("a local rejection").retry_after;
        assert_eq!(left, snapshot(&layer).left);
        assert!(retry_after(&response) >= left, "{passed}");
        advance(10 * SECOND).await;
    }
    assert_eq!(arrivals.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_are_held_up_to_the_bounds_and_the_deadline_and_never_sent_early() {
    let arrivals = Arrivals::new();
    let answer = |at| if at < 2 * SECOND { told(429, "2") } else { ok() };
    let layer = CooldownLayer::new("search").hold(10, 5 * SECOND);
    let client = layer.layer(server(&arrivals, answer));
    client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
    let held: Vec<_> = (0..15).map(|_| tokio::spawn(client.clone().oneshot(get(ORIGIN)))).collect();
    sleep(MS).await;
    assert_eq!(snapshot(&layer).held, 10);
    let mut urgent = get(ORIGIN);
    urgent.extensions_mut().insert(Deadline(Instant::now() + SECOND));
    let urgent = client.clone().oneshot(urgent).await.expect("infallible");
    assert!(is_local(&urgent), "it cannot be in time");
    let mut statuses = Vec::new();
    for call in held {
        statuses.push(call.await.expect("no panic").expect("infallible").status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
    assert_eq!(arrivals.between(MS, 2 * SECOND), 0);
    assert_eq!(snapshot(&layer).phase, CooldownPhase::Inactive);
}

#[tokio::test(start_paused = true)]
async fn each_origin_or_key_has_a_cooldown_of_its_own() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("mail")
        .hold(0, Duration::ZERO)
        .key(|request| Some(request.headers.get("x-account")?.to_str().ok()?.to_owned()));
    let client = layer.layer(server(&arrivals, |_| told(429, "9")));
    let of_account = |account: &str| {
        let request = Request::get(ORIGIN).header("x-account", account).body(());
        client.clone().oneshot(request.expect("a request"))
    };
    assert!(!is_local(&of_account("a").await.expect("infallible")));
    assert!(!is_local(&of_account("b").await.expect("infallible")));
    assert!(is_local(&of_account("a").await.expect("infallible")));
    assert!(!is_local(&client.clone().oneshot(get(ORIGIN)).await.expect("infallible")));
    assert!(is_local(&client.clone().oneshot(get("http://HERE:80/x")).await.expect("infallible")));
    assert!(!is_local(&client.clone().oneshot(get("http://there/")).await.expect("infallible")));
    assert_eq!(layer.snapshot_of_key("a").expect("known").phase, CooldownPhase::Quiet);
    assert!(layer.snapshot_of_key("c").is_none());
}

#[tokio::test(start_paused = true)]
async fn one_dead_replica_of_four_quiets_no_caller_and_an_origin_that_is_down_does() {
    let arrivals = Arrivals::new();
    let count = arrivals.clone();
    let answer = move |at| match count.count() % 4 {
        _ if at >= 60 * SECOND => told(503, "30"),
        0 => told(503, "30"),
        _ => ok(),
    };
    let layer = CooldownLayer::new("search");
    let client = layer.layer(server(&arrivals, answer));
    let responses = load(&client, 10 * MS, 60 * SECOND).await;
    assert!(!responses.iter().any(is_local));
    let before = arrivals.count();
    load(&client, 10 * MS, 20 * SECOND).await;
    assert!(arrivals.count() - before <= 17, "{}", arrivals.count() - before);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_schedules_each_request_by_itself_quiets_no_caller() {
    let layer = CooldownLayer::new("search");
    let server = tower::service_fn(async |_: Request<()>| {
        sleep(SECOND / 2).await;
        Ok::<_, std::convert::Infallible>(ok())
    });
    let server = AdmissionLayer::fixed("search", 1).layer(server);
    // Over the wire a response has no extensions.
    let server = server.map_response(|mut response: Response<_>| {
        response.extensions_mut().clear();
        response
    });
    let client = layer.layer(server);
    let responses = load(&client, 10 * MS, 20 * SECOND).await;
    assert!(responses.iter().any(|response| response.status() == 503));
    assert!(!responses.iter().any(is_local));
}

#[tokio::test(start_paused = true)]
async fn other_responses_and_fields_about_the_request_alone_begin_no_cooldown() {
    for response in [
        || reply(429, &[]),
        || reply(429, &[("retry-after", "0")]),
        || reply(429, &[("retry-after", "5"), ("x-should-retry", "false")]),
        || reply(200, &[("retry-after", "5")]),
        || reply(404, &[("retry-after", "5")]),
        || reply(500, &[("retry-after", "5")]),
    ] {
        let arrivals = Arrivals::new();
        let layer = CooldownLayer::new("search");
        let client = layer.layer(server(&arrivals, move |_| response()));
        load(&client, 10 * MS, SECOND).await;
        assert_eq!(snapshot(&layer).phase, CooldownPhase::Inactive, "{:?}", response());
    }
}

#[tokio::test(start_paused = true)]
async fn every_form_of_the_time_is_understood_and_an_absurd_one_is_bounded() {
    for (field, value, seconds) in [
        ("retry-after", "1.5", 1.5),
        ("retry-after", "1m30s", 60.0),
        ("retry-after", "99999999999999999999", 60.0),
        ("retry-after", "soon", 1.0),
        ("retry-after-ms", "2500", 2.5),
        ("x-ratelimit-reset", "7", 7.0),
    ] {
        let arrivals = Arrivals::new();
        let layer = CooldownLayer::new("search");
        let remaining = ("x-ratelimit-remaining", "0");
        let client =
            layer.layer(server(&arrivals, move |_| reply(429, &[(field, value), remaining])));
        client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        let left = snapshot(&layer).left.as_secs_f64();
        let jitter = f64::max(1.0, seconds / 10.0);
        assert!((seconds..=seconds + jitter).contains(&left), "{value}: {left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_users_begins_a_cooldown() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("github")
        .told(|status, _| (status == StatusCode::FORBIDDEN).then_some(10 * SECOND));
    let client = layer.layer(server(&arrivals, |_| reply(403, &[])));
    load(&client, SECOND / 10, 5 * SECOND).await;
    assert_eq!(arrivals.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sends_every_request_and_keeps_the_state() {
    // Longer than the layer holds requests, and shorter.
    for seconds in ["9", "2"] {
        let arrivals = Arrivals::new();
        let layer = CooldownLayer::new("search").dry_run(true);
        let client = layer.layer(server(&arrivals, move |_| told(429, seconds)));
        let responses = load(&client, SECOND / 10, 3 * SECOND).await;
        assert_eq!(arrivals.between(Duration::ZERO, 3 * SECOND), responses.len());
        assert_eq!(snapshot(&layer).phase, CooldownPhase::Quiet);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_layer_repeats_a_request_that_was_not_sent_whatever_its_method() {
    let arrivals = Arrivals::new();
    let answer = |at| if at < 4 * SECOND { told(429, "4") } else { ok() };
    let layer = CooldownLayer::new("search");
    let client = ServiceBuilder::new()
        .layer(RetryLayer::named("search").budget(RetryBudget::new(1.0)))
        .layer(layer.clone())
        .service(server(&arrivals, answer));
    let post = || Request::builder().method(Method::POST).uri(ORIGIN).body(()).expect("a request");
    let first = tokio::spawn(client.clone().oneshot(post()));
    sleep(MS).await;
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(client.clone().oneshot(post()))).collect();
    for call in calls.into_iter().chain([first]) {
        assert_eq!(call.await.expect("no panic").expect("infallible").status(), 200);
    }
    assert_eq!(arrivals.count(), 7, "the first one twice, and the others once");
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_one_route_stops_no_other_and_one_that_is_used_up_later_stops_all() {
    let arrivals = Arrivals::new();
    let layer = CooldownLayer::new("search");
    let seen = arrivals.clone();
    let client = layer.layer(tower::service_fn(move |request: Request<()>| {
        let at = seen.record();
        let is_limited = request.uri().path() == "/login" || at >= 20 * SECOND;
        std::future::ready(Ok::<_, std::convert::Infallible>(match is_limited {
            true => told(429, "10"),
            false => ok(),
        }))
    }));
    let start = Instant::now();
    while start.elapsed() < 20 * SECOND {
        for path in ["http://here/search", "http://here/login"] {
            let response = client.clone().oneshot(get(path)).await.expect("infallible");
            assert!(!is_local(&response), "{path} at {:?}", start.elapsed());
        }
        sleep(SECOND / 10).await;
    }
    let before = arrivals.count();
    load(&client, SECOND / 10, 9 * SECOND).await;
    // Three that are told, the last one to the route among them or not, and two that find out early whether
    // it holds for all.
    assert!((4..=5).contains(&(arrivals.count() - before)), "{}", arrivals.count() - before);
}
