//! Actions: only with an authoriser, only from the same site, and each of them audited.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use backpressure_dashboard::{Action, Audit, Dashboard, Outcome, router};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;
use tower_backpressure::policy::PolicySet;
use tower_backpressure::{AdmissionLayer, Mode};

use crate::{send, text};

/// As the page sends it, with these headers besides.
async fn act(dashboard: &Router, body: &Value, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let mut request = Request::post("/actions")
        .header("host", "service.example")
        .header("content-type", "application/json")
        .header("x-backpressure-action", "1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_string())).expect("a valid request");
    let response = send(dashboard, request).await;
    (response.status(), text(response).await)
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_without_an_authoriser_only_reads() {
    let _others = crate::with_others().await;
    let layer = AdmissionLayer::fixed("read-only", 4);
    let dashboard: Router = router();
    let state = crate::json(&dashboard, "/state.json").await;
    assert_eq!(state["actions"], json!([]));
    let stop = json!({ "action": "stop", "policy": layer.handle().id() });
    let (status, body) = act(&dashboard, &stop, &[]).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains("only reads"), "{body}");
    assert_eq!(layer.snapshot().mode, Mode::Admitting);
}

#[tokio::test(start_paused = true)]
async fn actions_of_an_operator_take_effect_and_are_audited() {
    let _others = crate::alone().await;
    let layer = AdmissionLayer::fixed("operated", 4);
    let audits: Arc<Mutex<Vec<Audit>>> = Arc::default();
    let audited = Arc::clone(&audits);
    let dashboard: Router = Dashboard::new()
        .actions(|head, command| {
            let operator = head.headers.get("x-user")?.to_str().ok()?;
            let is_allowed = operator == "admin" || command.action != Action::Stop;
            is_allowed.then(|| operator.to_owned())
        })
        .audit(move |audit| audited.lock().expect("no panic").push(audit.clone()))
        .reload(|| Err("line 3: no such field"))
        .router();
    let id = layer.handle().id();
    let command = |mut body: Value| {
        body["policy"] = id.into();
        body
    };
    let (admin, other) = (&[("x-user", "admin")][..], &[("x-user", "other")][..]);
    let do_it = async |body: Value, headers| act(&dashboard, &command(body), headers).await.0;

    assert_eq!(do_it(json!({ "action": "pin", "limit": 9 }), admin).await, StatusCode::OK);
    assert_eq!(layer.snapshot().limit, 9);
    assert_eq!(do_it(json!({ "action": "unpin" }), admin).await, StatusCode::OK);
    assert_eq!(layer.snapshot().limit, 4);
    assert_eq!(do_it(json!({ "action": "stop" }), other).await, StatusCode::FORBIDDEN);
    assert_eq!(do_it(json!({ "action": "stop" }), &[]).await, StatusCode::FORBIDDEN);
    assert_eq!(layer.snapshot().mode, Mode::Admitting);
    assert_eq!(do_it(json!({ "action": "stop" }), admin).await, StatusCode::OK);
    assert_eq!(layer.snapshot().mode, Mode::Stopped);
    assert_eq!(do_it(json!({ "action": "resume" }), admin).await, StatusCode::OK);
    assert_eq!(do_it(json!({ "action": "drain" }), admin).await, StatusCode::OK);
    assert_eq!(layer.snapshot().mode, Mode::Draining);
    assert_eq!(do_it(json!({ "action": "pause", "seconds": 2 }), admin).await, StatusCode::OK);
    assert!(matches!(layer.snapshot().mode, Mode::Paused(_)));
    assert_eq!(do_it(json!({ "action": "dry_run", "on": true }), admin).await, StatusCode::OK);
    let (status, body) = act(&dashboard, &json!({ "action": "reload" }), admin).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("line 3: no such field"), "{body}");

    let audits = audits.lock().expect("no panic").clone();
    let outcome = |index: usize| &audits[index].outcome;
    assert_eq!(audits.len(), 10);
    assert_eq!(
        (outcome(0), outcome(2), outcome(3)),
        (&Outcome::Done, &Outcome::Refused, &Outcome::Refused)
    );
    assert_eq!(audits[2].operator, None);
    assert!(matches!(outcome(9), Outcome::Failed(_)));
    assert_eq!(audits[4].operator.as_deref(), Some("admin"));
    sleep(Duration::from_secs(2)).await;
    let state = crate::json(&dashboard, "/state.json").await;
    let journal = state["events"].to_string();
    assert!(journal.contains("admin: pin the limit to 9"), "{journal}");
    assert!(!journal.contains("other"), "what was refused is for the audit: {journal}");
}

#[tokio::test(start_paused = true)]
async fn requests_from_other_sites_reach_no_authoriser() {
    let _others = crate::with_others().await;
    let layer = AdmissionLayer::fixed("forged", 4);
    let dashboard: Router = Dashboard::new()
        .actions(|head, _| {
            assert!(!head.headers.contains_key("x-forged"), "the authoriser must not be asked");
            Some("admin".to_owned())
        })
        .router();
    let stop = json!({ "action": "stop", "policy": layer.handle().id() });
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "http://service.example"), ("sec-fetch-site", "same-site")],
    ] {
        let forged = [headers, &[("x-forged", "1")]].concat();
        assert_eq!(act(&dashboard, &stop, &forged).await.0, StatusCode::FORBIDDEN, "{headers:?}");
    }
    // A form of another site: no header of one's own, and no JSON.
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "application/json"] {
        let form =
            Request::post("/actions").header("content-type", content_type).header("x-forged", "1");
        let form = form.body(Body::from(stop.to_string())).expect("valid");
        assert_eq!(send(&dashboard, form).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(layer.snapshot().mode, Mode::Admitting);
    let same = [("origin", "https://service.example"), ("sec-fetch-site", "same-origin")];
    assert_eq!(act(&dashboard, &stop, &same).await.0, StatusCode::OK);
    assert_eq!(layer.snapshot().mode, Mode::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_cannot_be_done_is_refused_with_the_reason() {
    let _others = crate::with_others().await;
    let layer = AdmissionLayer::fixed("refused", 4);
    let id = layer.handle().id();
    let dashboard: Router = Dashboard::new().actions(|_, _| Some("admin".to_owned())).router();
    for (body, why) in [
        (json!({ "action": "pin", "policy": id, "limit": 0 }), "1..=1000000"),
        (json!({ "action": "pin", "policy": id, "limit": 1_000_001 }), "1..=1000000"),
        (json!({ "action": "pin", "policy": id, "limit": -1 }), "invalid value"),
        (json!({ "action": "pause", "policy": id, "seconds": 1e9 }), "600 at most"),
        (json!({ "action": "pause", "policy": id, "seconds": 0 }), "above 0"),
        (json!({ "action": "explode", "policy": id }), "no such action"),
        (json!({ "action": "stop" }), "number of a policy"),
        (json!({ "action": "stop", "policy": u64::MAX }), "no such policy"),
        (json!({ "action": "stop", "policy": id, "force": true }), "unknown field"),
        (json!([]), "invalid"),
    ] {
        let (status, answer) = act(&dashboard, &body, &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(answer.contains(why), "{body}: {answer}");
    }
    let long = json!({ "action": "x".repeat(5_000) });
    assert_eq!(act(&dashboard, &long, &[]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(layer.snapshot().mode, Mode::Admitting);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stalls_in_its_body_is_given_up() {
    let _others = crate::with_others().await;
    let dashboard: Router = Dashboard::new().actions(|_, _| Some("admin".to_owned())).router();
    let stalled = http_body_util::channel::Channel::<bytes::Bytes, std::io::Error>::new(1);
    let (_sender, body) = stalled;
    let request = Request::post("/actions")
        .header("content-type", "application/json")
        .header("x-backpressure-action", "1")
        .body(Body::new(body))
        .expect("a valid request");
    let begun = tokio::time::Instant::now();
    assert_eq!(send(&dashboard, request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

/// A dashboard whose only operator may do all.
fn operated() -> Dashboard {
    Dashboard::new().actions(|_, _| Some("operator".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_a_policy_file_takes_effect_or_says_why_not() {
    let _others = crate::alone().await;
    let file = std::env::temp_dir().join(format!("reload-{}.toml", std::process::id()));
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    let policies =
        |max| format!("[admission.reloaded]\nmax = {max}\n[default]\nadmission = \"reloaded\"\n");
    write(&policies(90));
    let set = PolicySet::load(&file).expect("a good file");
    let reloaded = set.clone();
    let dashboard: Router = operated().reload(move || reloaded.reload()).router();
    let reload = json!({ "action": "reload" });
    write(&policies(40));
    let (status, body) = act(&dashboard, &reload, &[]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    sleep(Duration::from_secs(2)).await;
    let state = crate::json(&dashboard, "/state.json").await;
    assert_eq!(crate::policy(&state, "reloaded")["limit"]["max"], 40);
    write("[admission.reloaded]\nmax = 0\n");
    let (status, body) = act(&dashboard, &reload, &[]).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("max"), "{body}");
    std::fs::remove_file(&file).expect("the file is there");
    let (status, body) = act(&dashboard, &reload, &[]).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("reload-"), "{body}");
    let state = crate::json(&dashboard, "/state.json").await;
    assert_eq!(crate::policy(&state, "reloaded")["limit"]["max"], 40);
}

#[tokio::test]
async fn a_reload_that_hangs_or_panics_blocks_no_request() {
    let _others = crate::alone().await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (released, begun) = (Mutex::new(released), Arc::new(Notify::new()));
    let begins = Arc::clone(&begun);
    let hangs = move || -> Result<(), String> {
        begins.notify_one();
        let wait = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
        wait.expect("the other end is gone");
        Ok(())
    };
    let dashboard: Router = operated().reload(hangs).router();
    let reload = json!({ "action": "reload" });
    let first = tokio::spawn({
        let (dashboard, reload) = (dashboard.clone(), reload.clone());
        async move { act(&dashboard, &reload, &[]).await }
    });
    // This thread is the only one that serves, and answers meanwhile.
    begun.notified().await;
    let (_, body) = act(&dashboard, &reload, &[]).await;
    assert!(body.contains("under way"), "{body}");
    release.send(()).expect("it waits");
    assert_eq!(first.await.expect("no panic").0, StatusCode::OK);
    drop(release);
    let (status, body) = act(&dashboard, &reload, &[]).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("panicked"), "{body}");
}
