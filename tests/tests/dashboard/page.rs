//! The page: one file that needs nothing from elsewhere, and headers that keep it so.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use backpressure_dashboard::router;
use tower_backpressure::{AdmissionLayer, BulkheadLayer};

use crate::{get, json, policy, send, text};

#[tokio::test(start_paused = true)]
async fn every_response_forbids_to_store_frame_guess_or_load_from_elsewhere() {
    let _others = crate::with_others().await;
    let dashboard: Router = router();
    for path in ["/", "/state.json", "/history.json", "/events"] {
        let response = get(&dashboard, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let header = |name| response.headers().get(name).map_or("", |it| it.to_str().unwrap_or(""));
        assert_eq!(header("cache-control"), "no-store, no-transform", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
    let refused = send(&dashboard, Request::post("/actions").body(Body::empty()).expect("valid"));
    let refused = refused.await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.headers().contains_key("content-security-policy"));
}

#[tokio::test(start_paused = true)]
async fn the_page_is_at_its_path_with_and_without_a_slash_however_it_is_nested() {
    let _others = crate::with_others().await;
    let nested = |path| Router::new().nest_service(path, router());
    let inner = nested("/in");
    let with_state: Router = Router::<u8>::new().nest_service("/at", router()).with_state(7);
    for (app, path) in [
        (nested("/backpressure"), "/backpressure"),
        (nested("/a/{tenant}/page"), "/a/b/page"),
        (Router::new().nest("/out", inner), "/out/in"),
        (with_state, "/at"),
        (Router::new().fallback_service(router()), ""),
        (router(), ""),
    ] {
        let app: Router = app;
        for path in [path.to_owned(), format!("{path}/"), format!("{path}/?a=1")] {
            let path = if path.is_empty() { "/" } else { &path };
            let response = get(&app, path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert!(text(response).await.contains("<title>Backpressure</title>"), "{path}");
        }
        for file in ["state.json", "history.json", "events"] {
            let response = get(&app, &format!("{path}/{file}")).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}/{file}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_is_small_and_names_no_other_host() {
    let _others = crate::with_others().await;
    let dashboard: Router = router();
    let page = text(get(&dashboard, "/").await).await;
    assert!(page.len() < 100_000, "{} bytes", page.len());
    let names = ["http://www.w3.org/2000/svg"];
    let rest = names.iter().fold(page, |page, name| page.replace(name, ""));
    assert!(!rest.contains("http://") && !rest.contains("https://") && !rest.contains("src=\"//"));
    for risky in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!rest.contains(risky), "names of policies must not become markup: {risky}");
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_names_stay_text_of_bounded_length() {
    let _others = crate::with_others().await;
    let long = "x".repeat(1 << 20);
    let names = [
        "</script><img src=x onerror=alert(1)>",
        "\u{202E}drowssap\u{202C}",
        "nul\0 and\nline\r\ndata: forged\n\n",
        "\"'&`${1}\\",
        &long,
        "",
        "größe 🦀",
    ];
    let layers: Vec<_> = names.iter().map(|name| BulkheadLayer::new(name, 3)).collect();
    let dashboard: Router = router();
    let state = text(get(&dashboard, "/state.json").await).await;
    assert!(state.len() < 100_000, "{} bytes", state.len());
    let state = json(&dashboard, "/state.json").await;
    for (name, layer) in names.iter().zip(&layers) {
        let policies = state["policies"].as_array().expect("a list");
        let shown = policies.iter().find(|policy| policy["id"] == layer.handle().id());
        let shown = shown.expect("the policy is shown")["name"].as_str().expect("text");
        assert!(shown.chars().count() <= 121, "{shown}");
        assert!(!shown.contains(char::is_control), "{shown:?}");
        let is_kept = name.len() < 100 && !name.contains(char::is_control);
        assert!(!is_kept || shown == *name, "{shown}");
    }
    // As an event, a name cannot end the line.
    let events = get(&dashboard, "/events").await;
    let frame = crate::events::next(&mut events.into_body()).await.expect("the latest state");
    assert!(frame.trim_end().lines().count() == 2, "retry and data");
}

#[tokio::test(start_paused = true)]
async fn layers_that_end_leave_the_page_and_more_than_fit_are_counted() {
    let _others = crate::alone().await;
    let layers: Vec<_> = (0..300).map(|n| AdmissionLayer::fixed(&format!("many-{n}"), 1)).collect();
    let dashboard: Router = router();
    let state = json(&dashboard, "/state.json").await;
    assert_eq!(state["policies"].as_array().expect("a list").len(), 128);
    assert!(state["hidden_policies"].as_u64().expect("a number") >= 172);
    drop(layers);
    let kept = AdmissionLayer::fixed("kept", 2);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let state = json(&dashboard, "/state.json").await;
    assert_eq!(policy(&state, "kept")["limit"]["limit"], 2);
    assert!(!state.to_string().contains("many-"));
    drop(kept);
}
