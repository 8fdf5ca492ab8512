//! Which policy a request meets, and what that is.

use std::time::Duration;

use http::{Method, Request};
use tower::ServiceExt;
use tower_backpressure::policy::{PolicyLoader, PolicySet};
use tower_backpressure::{Priority, SHED_REASON};

use super::support::{QUICK, Work, of_tenant, request, service, status};

const FILE: &str = r#"
    [bulkhead.none-fits]
    limit = 1
    [bulkhead.other]
    limit = 1
    [quota.one]
    window = [{ rate = "1/h" }]
    [[policy]]
    name = "health"
    match = { path = "/healthz" }
    [[policy]]
    name = "users"
    match = { path = "/users/{id}", method = ["GET", "HEAD"] }
    bulkhead = "none-fits"
    [[policy]]
    name = "batch"
    match = { tenant = "batch", host = "*.example.com" }
    bulkhead = "other"
    [[policy]]
    name = "urgent"
    match = { priority = "critical" }
    [default]
    quota = "one"
"#;

fn chosen(policies: &PolicySet, request: &Request<()>) -> Option<String> {
    policies.explain(request).policy
}

#[test]
fn the_first_policy_whose_conditions_all_hold_is_chosen() {
    let policies = PolicySet::parse(FILE).expect("a good file");
    let name =
        |request: &Request<()>| chosen(&policies, request).unwrap_or_else(|| "default".into());
    assert_eq!(name(&request("/healthz", None)), "health");
    assert_eq!(name(&request("/users/7", None)), "users");
    let mut post = request("/users/7", None);
    *post.method_mut() = Method::POST;
    assert_eq!(name(&post), "default");
    let batch = of_tenant(request("/", None), "batch");
    assert_eq!(name(&batch), "default", "its host is unknown");
    let mut batch = of_tenant(request("http://shop.example.com/", None), "batch");
    assert_eq!(name(&batch), "batch");
    batch.extensions_mut().insert(Priority::Critical);
    assert_eq!(name(&batch), "batch", "the first one counts");
    let mut other = of_tenant(request("http://shop.example.com/", None), "other");
    other.extensions_mut().insert(Priority::Critical);
    assert_eq!(name(&other), "urgent");
    let why: Vec<_> = policies.explain(&other).passed.into_iter().map(|(_, why)| why).collect();
    let expected = [
        "its path is /, not /healthz",
        "its path is /, not /users/{id}",
        "its tenant is another one, not batch",
    ];
    assert_eq!(why, expected);
}

#[tokio::test(start_paused = true)]
async fn each_policy_has_its_own_layers_and_the_others_do_not_notice() {
    let policies = PolicySet::parse(FILE).expect("a good file");
    let service = service(&policies);
    let hanging = tokio::spawn(service.clone().oneshot(request("/users/7", None)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(status(&service, request("/users/8", QUICK)).await, 503);
    assert_eq!(status(&service, request("/healthz", QUICK)).await, 200);
    assert_eq!(status(&service, request("/", QUICK)).await, 200);
    assert_eq!(status(&service, request("/", QUICK)).await, 429, "one an hour");
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_rejection_says_that_it_was_not_begun_unless_an_outer_layer_admitted_it() {
    let file = r#"
        [admission.api]
        limit = 100
        [bulkhead.one]
        limit = 1
        [[policy]]
        name = "alone"
        match = { path = "/alone" }
        bulkhead = "one"
        [[policy]]
        name = "inside"
        match = { path = "/inside" }
        admission = "api"
        bulkhead = "one"
    "#;
    let service = service(&PolicySet::parse(file).expect("a good file"));
    let hanging = tokio::spawn(service.clone().oneshot(request("/alone", None)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (path, is_marked) in [("/alone", true), ("/inside", false)] {
        let Ok(response) = service.clone().oneshot(request(path, QUICK)).await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"), "{path}");
        assert_eq!(response.headers().contains_key(SHED_REASON), is_marked, "{path}");
    }
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_of_a_policy_rejects_nothing_and_others_with_its_layers_do() {
    let file = r#"
        [bulkhead.one]
        limit = 1
        [[policy]]
        name = "dry"
        match = { path = "/dry" }
        bulkhead = "one"
        dry_run = true
        [default]
        bulkhead = "one"
    "#;
    let service = service(&PolicySet::parse(file).expect("a good file"));
    let hanging = tokio::spawn(service.clone().oneshot(request("/", None)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(status(&service, request("/dry", QUICK)).await, 200);
    assert_eq!(status(&service, request("/", QUICK)).await, 503);
    hanging.abort();
}

#[test]
fn a_matched_route_is_compared_where_the_program_tells_it() {
    #[derive(Clone)]
    struct Route(&'static str);
    let file = "[[policy]]\nname = \"a\"\nmatch = { path = \"/users/{user_id}\" }\n";
    let loader =
        PolicyLoader::new().matched_path(|extensions| extensions.get().map(|Route(route)| *route));
    let policies = loader.parse(file).expect("a good file");
    let mut nested = request("/7", None);
    assert_eq!(chosen(&policies, &nested), None);
    nested.extensions_mut().insert(Route("/users/{user_id}"));
    assert_eq!(chosen(&policies, &nested).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_route_of_a_nested_router_is_compared_with_its_prefix() {
    use axum::extract::MatchedPath;
    use axum::{Router, body::Body, routing::get};
    let file = "[quota.one]\nwindow = [{ rate = \"1/h\" }]\n\
                [[policy]]\nname = \"a\"\nmatch = { path = \"/api/users/{id}\" }\nquota = \"one\"\n";
    let plain = PolicySet::parse(file).expect("a good file");
    let loader = PolicyLoader::new()
        .matched_path(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str));
    let told = loader.parse(file).expect("a good file");
    // A layer inside of the nested router sees paths without its prefix.
    for (policies, expected) in [(plain, [200, 200]), (told, [200, 429])] {
        let nested = Router::new().route("/users/{id}", get(|| async { "served" })).layer(policies);
        let app: Router = Router::new().nest("/api", nested);
        for status in expected {
            let request = Request::get("/api/users/7").body(Body::empty()).expect("a request");
            assert_eq!(app.clone().oneshot(request).await.expect("no error").status(), status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn plans_of_tenants_and_several_windows_count() {
    let file = r#"
        [quota.tenants]
        window = [{ rate = "2/s" }, { rate = "3 per day" }]
        tenants = { batch = "pro", nightly = "default" }
        [quota.tenants.plan.pro]
        window = [{ rate = "100/s" }]
        [default]
        quota = "tenants"
    "#;
    let service = service(&PolicySet::parse(file).expect("a good file"));
    let instant = Work(Duration::ZERO, 200);
    let served = async |tenant: &str| {
        let mut served = 0;
        for _ in 0..10 {
            served +=
                u32::from(status(&service, of_tenant(request("/", instant), tenant)).await == 200);
        }
        served
    };
    let first = [served("batch").await, served("nightly").await, served("other").await];
    assert_eq!(first, [10, 2, 2]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(served("other").await, 1, "three a day");
}

#[tokio::test(start_paused = true)]
async fn bulkheads_by_key_and_compartments_of_a_set_limit_as_their_layers_do() {
    let file = r#"
        [bulkhead.hosts]
        limit = 1
        per = "host"
        [bulkhead_set.back]
        total = 2
        compartment = { a = { guaranteed = 1, queue = { max_len = 0 } }, b = { guaranteed = 1, lend = "0%" } }
        [[policy]]
        name = "a"
        match = { path = "/a" }
        compartment = "back/a"
        [[policy]]
        name = "b"
        match = { path = "/b" }
        compartment = "back/b"
        [default]
        bulkhead = "hosts"
    "#;
    let service = service(&PolicySet::parse(file).expect("a good file"));
    let mut hanging = tokio::task::JoinSet::new();
    for path in ["http://one.com/", "/a"] {
        hanging.spawn(service.clone().oneshot(request(path, None)));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(status(&service, request("http://ONE.com:80/", QUICK)).await, 503);
    assert_eq!(status(&service, request("http://two.com/", QUICK)).await, 200);
    assert_eq!(status(&service, request("/a", QUICK)).await, 503);
    assert_eq!(status(&service, request("/b", QUICK)).await, 200);
}
