//! Policies change while requests run.

use std::sync::Arc;
use std::time::Duration;

use backpressure_tests::recorded_metrics::RecordedMetrics;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt;
use tower_backpressure::policy::PolicySet;
use tower_backpressure::server::{Handle, QuotaHandle};

use super::support::{Events, QUICK, Work, of_tenant, request, service, status};

const MOMENT: Duration = Duration::from_millis(1);

fn bulkhead(name: &str, limit: usize) -> String {
    format!("[bulkhead.{name}]\nlimit = {limit}\n[default]\nbulkhead = \"{name}\"\n")
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_shrinks_or_grows_revokes_nothing_and_holds_for_new_requests() {
    let policies = PolicySet::parse(&bulkhead("shrinks", 3)).expect("a good file");
    let service = service(&policies);
    let mut running = JoinSet::new();
    for seconds in [1, 2, 3] {
        let work = Work(Duration::from_secs(seconds), 200);
        running.spawn(service.clone().oneshot(request("/", work)));
    }
    sleep(MOMENT).await;
    policies.replace(&bulkhead("shrinks", 1)).expect("a good file");
    assert_eq!(Handle::named("shrinks").expect("the layer").snapshot().in_flight, 3);
    assert_eq!(status(&service, request("/", QUICK)).await, 503);
    sleep(Duration::from_millis(2_100)).await;
    assert_eq!(status(&service, request("/", QUICK)).await, 503, "the last one runs");
    policies.replace(&bulkhead("shrinks", 2)).expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    while let Some(response) = running.join_next().await {
        let Ok(response) = response.expect("no panic");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_and_used_survives_a_reload() {
    let file = |max, rate| {
        format!(
            "[admission.survives]\nmax = {max}\n[quota.survives]\nwindow = [{{ rate = \"{rate}\" }}]\n\
             [default]\nadmission = \"survives\"\nquota = \"survives\"\n"
        )
    };
    let policies = PolicySet::parse(&file(500, "10/h")).expect("a good file");
    let service = service(&policies);
    let handle = Handle::named("survives").expect("the layer");
    handle.limiter().start_limit_at(77);
    for _ in 0..7 {
        assert_eq!(status(&service, of_tenant(request("/", QUICK), "batch")).await, 200);
    }
    policies.replace(&file(400, "12/h")).expect("a good file");
    assert_eq!(handle.limiter().limit_bounds().1, 400);
    assert!((70..=100).contains(&handle.snapshot().limit), "{:?}", handle.snapshot());
    let quota = QuotaHandle::named("survives").expect("the layer");
    let tenant = tower_backpressure::Tenant::new("batch");
    assert_eq!(quota.standing(tenant).expect("known").windows[0].remaining, 5);
    policies.replace(&file(50, "12/h")).expect("a good file");
    assert_eq!(handle.snapshot().limit, 50);
}

#[tokio::test(start_paused = true)]
async fn an_option_that_is_gone_has_its_default_again() {
    let with = "[bulkhead.dry]\nlimit = 1\ndry_run = true\n[default]\nbulkhead = \"dry\"\n";
    let policies = PolicySet::parse(with).expect("a good file");
    let service = service(&policies);
    let hanging = tokio::spawn(service.clone().oneshot(request("/", None)));
    sleep(MOMENT).await;
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    policies.replace(&bulkhead("dry", 1)).expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 503, "the request before still runs");
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_gone_serves_those_it_has_admitted_and_queued() {
    let queued = "[bulkhead.gone]\nlimit = 1\nqueue = { max_len = 1, max_wait = \"10s\" }\n\
                  [default]\nbulkhead = \"gone\"\n";
    let policies = PolicySet::parse(queued).expect("a good file");
    let service = service(&policies);
    let mut running = JoinSet::new();
    for _ in 0..2 {
        running.spawn(service.clone().oneshot(request("/", Work(Duration::from_secs(1), 200))));
    }
    sleep(MOMENT).await;
    policies.replace("[default]\n").expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    while let Some(response) = running.join_next().await {
        let Ok(response) = response.expect("no panic");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_gone_leaves_no_limit_in_the_metrics() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let policies = PolicySet::parse(&bulkhead("unlisted", 3)).expect("a good file");
    let service = service(&policies);
    let limit = || recorded.gauge("backpressure_limit unlisted");
    let hanging = tokio::spawn(service.clone().oneshot(request("/", None)));
    sleep(MOMENT).await;
    assert_eq!(limit(), 3.0);
    policies.replace("[default]\n").expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    hanging.abort();
    assert!(hanging.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(limit(), 0.0);
    policies.replace(&bulkhead("unlisted", 5)).expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    assert_eq!(limit(), 5.0);
}

#[tokio::test(start_paused = true)]
async fn the_total_of_a_set_changes_in_place_while_all_compartments_hang() {
    let file = |total| {
        format!(
            "[bulkhead_set.hangs]\ntotal = {total}\n\
             compartment = {{ a = {{ guaranteed = 2, queue = {{ max_len = 0 }} }} }}\n\
             [default]\ncompartment = \"hangs/a\"\n"
        )
    };
    let policies = PolicySet::parse(&file(4)).expect("a good file");
    let service = service(&policies);
    let mut hanging = JoinSet::new();
    for _ in 0..4 {
        hanging.spawn(service.clone().oneshot(request("/", None)));
    }
    sleep(MOMENT).await;
    policies.replace(&file(2)).expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 503);
    policies.replace(&file(5)).expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_leaves_the_one_before_in_force_and_says_why() {
    let events = Events::default();
    let policies = events.loader().parse(&bulkhead("stays", 1)).expect("a good file");
    let service = service(&policies);
    let error = policies.replace("[bulkhead.stays]\nlimit = 0\n").expect_err("a bad file");
    assert!(error.to_string().contains("limit must be in 1..=1000000"), "{error}");
    assert_eq!(policies.last_error().expect("kept").to_string(), error.to_string());
    assert_eq!(events.names(), ["in_force", "refused"]);
    let hanging = tokio::spawn(service.clone().oneshot(request("/", None)));
    sleep(MOMENT).await;
    assert_eq!(status(&service, request("/", QUICK)).await, 503, "the limit is still 1");
    policies.replace(&bulkhead("stays", 2)).expect("a good file");
    assert!(policies.last_error().is_none());
    let expected = "policies are in force: bulkhead.stays.limit: 1 -> 2";
    assert_eq!(events.last(), expected);
    policies.replace(&bulkhead("stays", 2)).expect("a good file");
    assert_eq!(events.names(), ["in_force", "refused", "in_force"], "the same file is no change");
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_has_pinned_a_limit_keeps_it_over_a_reload() {
    let file =
        |max| format!("[admission.pinned]\nmax = {max}\n[default]\nadmission = \"pinned\"\n");
    let policies = PolicySet::parse(&file(100)).expect("a good file");
    let handle = Handle::named("pinned").expect("the layer");
    handle.pin(7);
    policies.replace(&file(5)).expect("a good file");
    assert_eq!(handle.snapshot().limit, 7);
    handle.unpin();
    assert!(handle.snapshot().limit <= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_reloads_from_many_threads_during_traffic_lose_no_permit() {
    let policies = PolicySet::parse(&bulkhead("reloaded", 4)).expect("a good file");
    let service = service(&policies);
    let mut tasks = JoinSet::new();
    for thread in 0..4_usize {
        let policies = policies.clone();
        tasks.spawn_blocking(move || {
            for turn in 0..250 {
                let name = if turn % 10 == 9 { "other" } else { "reloaded" };
                policies.replace(&bulkhead(name, 1 + (turn + thread) % 8)).expect("a good file");
            }
        });
    }
    for _ in 0..8 {
        let service = service.clone();
        tasks.spawn(async move {
            for _ in 0..250 {
                let found = status(&service, request("/", Work(Duration::ZERO, 200))).await;
                assert!([200, 503].contains(&found), "{found}");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    policies.replace(&bulkhead("last", 1)).expect("a good file");
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    for handle in Handle::all() {
        if ["reloaded", "other"].contains(&handle.name()) {
            assert_eq!(handle.snapshot().in_flight, 0, "{}", handle.name());
        }
    }
    let alive = Handle::all().iter().filter(|handle| handle.name() == "other").count();
    // Services that were used last may keep what they used.
    assert!(alive <= 8, "{alive} layers of files that are gone");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_closure_of_the_program_leaves_policies_that_can_be_reloaded() {
    let panics = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let panicking = Arc::clone(&panics);
    let policies = tower_backpressure::policy::PolicyLoader::new()
        .admission(move |_, layer| {
            assert!(!panicking.load(std::sync::atomic::Ordering::Relaxed), "on purpose");
            layer
        })
        .parse(&bulkhead("panics", 1))
        .expect("a good file");
    panics.store(true, std::sync::atomic::Ordering::Relaxed);
    let set = policies.clone();
    let reloaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        set.replace(&bulkhead("panics", 2))
    }));
    assert!(reloaded.is_err());
    panics.store(false, std::sync::atomic::Ordering::Relaxed);
    policies.replace(&bulkhead("panics", 3)).expect("a good file");
    assert_eq!(status(&service(&policies), request("/", QUICK)).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_told_of_events_may_reload_and_panic() {
    let set: Arc<std::sync::OnceLock<PolicySet>> = Arc::default();
    let (inside, told) = (Arc::clone(&set), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let counted = Arc::clone(&told);
    let policies = tower_backpressure::policy::PolicyLoader::new()
        .audit(move |_| {
            let before = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let (1, Some(set)) = (before, inside.get()) {
                set.replace(&bulkhead("audited", 3)).expect("a good file");
                panic!("on purpose");
            }
        })
        .parse(&bulkhead("audited", 1))
        .expect("a good file");
    set.get_or_init(|| policies.clone());
    let reload = || policies.replace(&bulkhead("audited", 2));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(reload)).is_err());
    assert_eq!(Handle::named("audited").expect("the layer").snapshot().limit, 3);
    policies.replace(&bulkhead("audited", 4)).expect("a good file");
    assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 4, "the one that waited, too");
}

#[tokio::test(start_paused = true)]
async fn compartments_by_key_stay_over_a_reload_of_something_else() {
    let file = |limit: usize| {
        format!(
            "[bulkhead.keyed]\nlimit = 1\nper = \"host\"\n[bulkhead.else]\nlimit = {limit}\n\
             [default]\nbulkhead = \"keyed\"\n"
        )
    };
    let policies = PolicySet::parse(&file(1)).expect("a good file");
    let service = service(&policies);
    let hanging = tokio::spawn(service.clone().oneshot(request("http://a.com/", None)));
    sleep(MOMENT).await;
    policies.replace(&file(2)).expect("a good file");
    assert_eq!(status(&service, request("http://a.com/", QUICK)).await, 503);
    assert_eq!(status(&service, request("http://b.com/", QUICK)).await, 200);
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_limit_becomes_constant_and_adaptive_again_in_place() {
    let file = |limit: &str| {
        format!("[admission.kinds]\nlimit = {limit}\n[default]\nadmission = \"kinds\"\n")
    };
    let policies = PolicySet::parse(&file("\"adaptive\"")).expect("a good file");
    let service = service(&policies);
    let handle = Handle::named("kinds").expect("the layer");
    let hanging = tokio::spawn(service.clone().oneshot(request("/", None)));
    sleep(MOMENT).await;
    policies.replace(&file("3")).expect("a good file");
    assert_eq!((handle.snapshot().limit, handle.snapshot().in_flight), (3, 1));
    policies.replace(&file("\"adaptive\"")).expect("a good file");
    assert!(handle.limiter().metering() != tower_backpressure::Metering::Nothing);
    assert_eq!(handle.snapshot().in_flight, 1);
    hanging.abort();
}
