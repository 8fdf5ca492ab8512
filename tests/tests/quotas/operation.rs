//! Quotas in operation: dry run, exempt requests, soft quotas, changes while it runs, metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backpressure_tests::recorded_metrics::RecordedMetrics;
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::server::{QuotaHandle, QuotaLayer};
use tower_backpressure::{AdmissionLayer, Event, Priority, Quota, RequestInfo};

use crate::support::{BY_KEY, Done, field, request, send, served, text};

#[tokio::test(start_paused = true)]
async fn a_dry_run_serves_everything_says_nothing_and_can_be_switched() {
    let layer = QuotaLayer::per("dry", BY_KEY, Quota::per_hour(2)).dry_run(true);
    assert_eq!(served(&layer, "a", 10).await, 10);
    assert_eq!(send(&layer, request("a")).await.headers().len(), 0);
    layer.handle().set_dry_run(false);
    assert_eq!(served(&layer, "a", 10).await, 0);
    layer.handle().set_dry_run(true);
    assert_eq!(served(&layer, "a", 10).await, 10);
}

#[tokio::test(start_paused = true)]
async fn exempt_requests_take_no_tokens() {
    let layer = QuotaLayer::per("exempt", BY_KEY, Quota::per_hour(2))
        .exempt(|head| head.uri.path() == "/healthz");
    for _ in 0..100 {
        let probe = Request::get("/healthz").header("x-api-key", "a").body(String::new());
        assert_eq!(send(&layer, probe.expect("a request")).await.status(), 200);
    }
    assert_eq!(served(&layer, "a", 10).await, 2);
}

#[tokio::test(start_paused = true)]
async fn beyond_a_soft_quota_requests_run_with_a_lower_priority() {
    let layer = QuotaLayer::per("soft", BY_KEY, Quota::per_hour(2)).soft(Priority::Sheddable);
    let service = layer.layer(service_fn(async |request: Request<String>| {
        let info = RequestInfo::of(request.extensions());
        Ok::<_, Infallible>(Response::new(format!("{:?}", info.priority)))
    }));
    let call = async |own: Option<Priority>| {
        let mut request = request("a");
        if let Some(own) = own {
            request.extensions_mut().insert(own);
        }
        let response = service.clone().oneshot(request).await.expect("no error");
        assert_eq!(response.status(), 200);
        text(response).await
    };
    assert_eq!(call(None).await, "Normal");
    assert_eq!(call(Some(Priority::Critical)).await, "Critical");
    assert_eq!(call(None).await, "Sheddable");
    assert_eq!(call(Some(Priority::Critical)).await, "Sheddable");
    advance(Duration::from_secs(1_800)).await;
    assert_eq!(call(Some(Priority::Deferrable)).await, "Deferrable");
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_changed_while_it_runs_and_what_was_used_stays_used() {
    let layer = QuotaLayer::per("changed-while-it-runs", BY_KEY, Quota::per_hour(10));
    let handle = QuotaHandle::named("changed-while-it-runs").expect("the layer exists");
    let service = layer.layer(Done);
    let call = async || service.clone().oneshot(request("a")).await.expect("no error").status();
    for _ in 0..7 {
        assert_eq!(call().await, 200);
    }
    handle.set_quota(Quota::per_hour(20));
    let served_now = async || {
        let mut served = 0;
        while call().await == StatusCode::OK {
            served += 1;
        }
        served
    };
    assert_eq!(served_now().await, 13);
    // To a smaller one and back, again and again: no token is minted.
    for _ in 0..50 {
        handle.set_quota(Quota::per_hour(5));
        assert_eq!(served_now().await, 0);
        handle.set_quota(Quota::per_hour(20).and(Quota::per_second(1_000)));
        assert_eq!(served_now().await, 0);
        handle.set_quota(Quota::per_hour(20));
        assert_eq!(served_now().await, 0);
    }
    handle.forget("a");
    assert_eq!(served_now().await, 20);
    assert!(!handle.set_plan("no such plan", Quota::per_hour(1)));
    drop((service, layer));
    assert_eq!(handle.quota(), Quota::per_hour(20));
}

#[tokio::test(start_paused = true)]
async fn a_page_of_ones_own_keeps_the_time_and_the_fields() {
    let layer =
        QuotaLayer::per("page", BY_KEY, Quota::per_hour(1)).on_reject(|head, mut response| {
            assert_eq!(head.uri.path(), "/");
            *response.body_mut() = "Too many requests, sorry.".into();
            response.headers_mut().clear();
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        });
    assert_eq!(served(&layer, "a", 1).await, 1);
    let response = send(&layer, request("a")).await;
    assert_eq!(response.status(), 403);
    assert_eq!(field(&response, "retry-after"), "3600");
    assert_eq!(field(&response, "ratelimit"), r#""page-hour";r=0;t=3600"#);
    assert_eq!(text(response).await, "Too many requests, sorry.");
}

#[tokio::test(start_paused = true)]
async fn two_routes_and_clones_of_the_layer_share_one_quota() {
    let layer = QuotaLayer::per("shared", BY_KEY, Quota::per_hour(3));
    assert_eq!(served(&layer, "a", 2).await, 2);
    assert_eq!(served(&layer.clone(), "a", 2).await, 1);
    assert_eq!(layer.handle().keys(), 1);
}

#[test]
fn decisions_are_counted_and_observed() {
    let recorded = Arc::new(RecordedMetrics::default());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    metrics::with_local_recorder(&*recorded, || {
        runtime.expect("a runtime").block_on(async {
            let hard = QuotaLayer::per("hard", BY_KEY, Quota::per_hour(5)).max_keys(1).observer(
                move |_: &str, event: Event| seen.lock().expect("unpoisoned").push(event),
            );
            let soft =
                QuotaLayer::per("soft", BY_KEY, Quota::per_hour(2)).soft(Priority::Deferrable);
            let dry = QuotaLayer::per("dry", BY_KEY, Quota::per_hour(1)).dry_run(true);
            assert_eq!(served(&(hard.clone(), soft, dry), "a", 8).await, 5);
            for key in 0..1_000 {
                assert_eq!(served(&hard, &key.to_string(), 1).await, 1);
            }
        });
    });
    let requests =
        |labels: &str| recorded.counter(&format!("backpressure_requests_total {labels}"));
    assert_eq!(requests("hard admitted"), 1_005);
    assert_eq!(requests("hard shed quota"), 3);
    assert_eq!(requests("soft admitted"), 5);
    assert_eq!(recorded.counter("backpressure_quota_soft_total soft"), 3);
    assert_eq!((requests("dry admitted"), requests("dry would_reject quota")), (1, 4));
    assert!(recorded.counter("backpressure_quota_evictions_total hard early") > 800);
    assert_eq!(recorded.gauge("backpressure_in_flight hard"), 0.0);
    // A quota has no limit of requests in flight to show.
    assert!(!recorded.names().contains("backpressure_limit"));
    let events = events.lock().expect("unpoisoned");
    let rejected = events.iter().filter(|event| matches!(event, Event::Rejected { .. }));
    assert_eq!((events.len(), rejected.count()), (1_008, 3));
}

#[tokio::test(start_paused = true)]
async fn over_its_quota_a_tenant_takes_no_capacity_of_the_service() {
    let admission = AdmissionLayer::fixed("capacity", 1);
    let quota = QuotaLayer::per("tenants", BY_KEY, Quota::per_second(10).burst(1));
    let service = (quota, admission.clone()).layer(service_fn(async |_: Request<String>| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut calls = tokio::task::JoinSet::new();
    for second in 0..10 {
        for index in 0..100_u64 {
            let call = service.clone().oneshot(request("noisy"));
            calls.spawn(async move {
                tokio::time::sleep(Duration::from_millis(second * 1_000 + index * 10)).await;
                call.await.expect("no error").status()
            });
        }
    }
    let statuses = calls.join_all().await;
    let served = statuses.iter().filter(|status| status.is_success()).count();
    assert!((95..=101).contains(&served), "{served}");
    assert!(statuses.iter().all(|status| [200, 429].contains(&status.as_u16())));
}
