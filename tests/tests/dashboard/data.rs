//! The data agrees with what the layers have done, and with the metrics.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::http::{HeaderName, Request, Response, StatusCode};
use axum::routing::get;
use backpressure_dashboard::router;
use backpressure_tests::recorded_metrics::RecordedMetrics;
use http_body_util::Full;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::server::{ByHeader, QuotaLayer};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, ClientStack, QueueBounds, Quota};

use crate::{json, policy};

const SECOND: Duration = Duration::from_secs(1);

/// Sends `count` requests, evenly over a second.
async fn second_of(service: &Router, count: u32, tenant: &str) -> (u64, u64) {
    let (mut running, mut due) = (JoinSet::new(), interval(SECOND / count));
    for _ in 0..count {
        due.tick().await;
        let request = Request::get("/").header("x-tenant", tenant).body(Body::empty());
        let service = service.clone();
        running.spawn(async move {
            let response = service.oneshot(request.expect("valid")).await.expect("infallible");
            let status = response.status();
            axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a whole body");
            status
        });
    }
    due.tick().await;
    let statuses = running.join_all().await;
    let ok = statuses.iter().filter(|status| **status == StatusCode::OK).count() as u64;
    (ok, statuses.len() as u64 - ok)
}

#[test]
fn totals_reasons_and_times_are_those_of_the_metrics_and_of_the_callers() {
    let metrics = RecordedMetrics::default();
    metrics::with_local_recorder(&metrics, || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let layer = AdmissionLayer::fixed("data", 2)
                .queue(QueueBounds::new(1, Duration::from_millis(50)));
            let service = Router::new().route("/", get(work)).layer(layer);
            let dashboard: Router = router();
            let (mut ok, mut rejected) = (0, 0);
            for _ in 0..7 {
                let (served, refused) = second_of(&service, 100, "any").await;
                (ok, rejected) = (ok + served, rejected + refused);
            }
            sleep(SECOND).await;
            let state = json(&dashboard, "/state.json").await;
            let shown = policy(&state, "data");
            assert_eq!(shown["total"]["admitted"], ok);
            assert_eq!(shown["total"]["rejected"], rejected);
            assert_eq!(metrics.counter("backpressure_requests_total data admitted"), ok);
            let reasons = shown["rejected_by"].as_array().expect("a list");
            assert!(!reasons.is_empty() && rejected > 0);
            for reason in reasons {
                let name = reason["reason"].as_str().expect("text");
                let counted =
                    metrics.counter(&format!("backpressure_requests_total data shed {name}"));
                assert_eq!(reason["total"], counted, "{name}");
            }
            let told = metrics.histogram("backpressure_retry_after_seconds data");
            assert_eq!(told.len() as u64, rejected);
            assert!(shown["retry_after_s"]["count"].as_u64().is_some_and(|count| count > 0));
            let waits = metrics.histogram("backpressure_queue_wait_seconds data admitted");
            assert!(!waits.is_empty());
            // 100 ms of work, by the clock of the test.
            let p50 = shown["response_ms"]["p50"].as_f64().expect("a number");
            assert!((94.0..=107.0).contains(&p50), "{p50}");
        });
    });
}

async fn work() -> &'static str {
    sleep(Duration::from_millis(100)).await;
    "done"
}

#[tokio::test(start_paused = true)]
async fn the_state_has_the_reason_for_a_limit_and_the_journal_its_changes() {
    let _others = crate::with_others().await;
    let layer = BulkheadLayer::new("journal", 4);
    let service = Router::new().route("/", get(work)).layer(layer.clone());
    let dashboard: Router = router();
    sleep(SECOND * 2).await;
    second_of(&service, 100, "any").await;
    layer.handle().pin(9);
    layer.handle().set_dry_run(true);
    sleep(SECOND * 2).await;
    let state = json(&dashboard, "/state.json").await;
    let shown = policy(&state, "journal");
    assert_eq!(shown["why"], "Pinned to 9: it does not change until it is unpinned.");
    assert_eq!((&shown["limit"]["limit"], &shown["dry_run"]), (&Value::from(9), &true.into()));
    let events = state["events"].as_array().expect("a list");
    let of_policy = events.iter().filter(|event| event["policy"] == "journal");
    let texts: Vec<_> = of_policy.map(|event| event["text"].as_str().expect("text")).collect();
    for text in ["starts to reject requests", "rejects no more", "limit 4 → 9", "dry run on"] {
        assert!(texts.contains(&text), "{text}: {texts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_busiest_tenants_of_a_quota_are_shown_with_what_was_rejected() {
    let _others = crate::alone().await;
    let tenant = ByHeader::new(HeaderName::from_static("x-tenant"));
    let quota = QuotaLayer::per("tenants", tenant, Quota::per_second(50));
    let service = Router::new().route("/", get(async || "done")).layer(quota);
    let dashboard: Router = router();
    for _ in 0..30 {
        let (greedy, modest) =
            tokio::join!(second_of(&service, 200, "greedy<b>"), second_of(&service, 20, "modest"));
        assert!(greedy.1 > 0 && modest.1 == 0);
    }
    let state = json(&dashboard, "/state.json").await;
    let tenants = policy(&state, "tenants")["tenants"].as_array().expect("a list").clone();
    let number = |index: usize, of: &str| tenants[index][of].as_f64().expect("a number");
    assert_eq!((&tenants[0]["name"], &tenants[1]["name"]), (&"greedy<b>".into(), &"modest".into()));
    assert!((170.0..=230.0).contains(&number(0, "per_second")), "{tenants:?}");
    assert!((0.7..=0.8).contains(&number(0, "rejected_share")), "{tenants:?}");
    assert!((16.0..=24.0).contains(&number(1, "per_second")), "{tenants:?}");
    assert_eq!(number(1, "rejected_share"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn layers_that_stand_inside_others_are_seen_on_requests() {
    let _others = crate::alone().await;
    let bank = service_fn(|_: Request<Full<Bytes>>| async {
        sleep(Duration::from_millis(5)).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let bank = ClientStack::new("nested-bank").layer(bank);
    let pay = move || {
        let mut bank = bank.clone();
        async move {
            // A task yields between the layers, as a handler does that first reads its body.
            sleep(Duration::from_millis(1)).await;
            let request =
                Request::get("http://bank.example/").body(Full::default()).expect("valid");
            bank.call(request).await.expect("infallible").status()
        }
    };
    let tenant = ByHeader::new(HeaderName::from_static("x-tenant"));
    let service = Router::new()
        .route("/", get(pay).layer(BulkheadLayer::new("nested-payments", 50)))
        .route("/search", get(work))
        .layer(AdmissionLayer::fixed("nested-api", 100))
        .layer(QuotaLayer::per("nested-plans", tenant, Quota::per_second(1_000)));
    let dashboard: Router = router();
    // So many that only some are followed.
    for _ in 0..5 {
        second_of(&service, 4_000, "any").await;
    }
    sleep(SECOND).await;
    let state = json(&dashboard, "/state.json").await;
    assert_eq!(around(&state, "nested-plans", "quota"), [""; 0]);
    assert_eq!(around(&state, "nested-api", "admission"), ["nested-plans"]);
    assert_eq!(around(&state, "nested-payments", "bulkhead"), ["nested-api"]);
    assert_eq!(around(&state, "nested-bank", "retry"), ["nested-payments"]);
}

#[tokio::test(start_paused = true)]
async fn layers_that_decide_when_they_are_called_are_seen_inside_others() {
    let _others = crate::alone().await;
    let dashboard: Router = router();
    let handler = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    // Nothing between them, as in a policy file, so that each calls the next one in its own `call`.
    let layers = (
        QuotaLayer::of_all("called-plans", Quota::per_second(1_000)),
        AdmissionLayer::fixed("called-api", 100),
        BulkheadLayer::new("called-payments", 50),
    );
    let service = layers.layer(handler);
    for _ in 0..100 {
        let request = Request::new(Full::default());
        let response = service.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), 200);
    }
    sleep(2 * SECOND).await;
    let state = json(&dashboard, "/state.json").await;
    assert_eq!(around(&state, "called-plans", "quota"), [""; 0]);
    assert_eq!(around(&state, "called-api", "admission"), ["called-plans"]);
    assert_eq!(around(&state, "called-payments", "bulkhead"), ["called-api"]);
}

/// The names of the layers that were seen around one.
fn around(state: &Value, name: &str, kind: &str) -> Vec<String> {
    let policies = state["policies"].as_array().expect("a list").iter();
    let mut found = policies.filter(|it| it["name"] == name && it["kind"] == kind);
    let ids = found.next().expect("it is shown")["around"].as_array().expect("a list").clone();
    ids.iter().map(|id| name_of(state, id)).collect()
}

/// The name of the policy with this number.
fn name_of(state: &Value, id: &Value) -> String {
    let policies = state["policies"].as_array().expect("a list");
    let policy = policies.iter().find(|policy| policy["id"] == *id).expect("it is shown");
    policy["name"].as_str().expect("text").to_owned()
}
