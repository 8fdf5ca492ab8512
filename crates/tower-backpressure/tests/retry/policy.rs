//! Rules of users, and idempotency keys.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{RetryDecision, RetryLayer};

use crate::memory_server::{Arrivals, SECOND, get, ok, request, response, server};

async fn attempts(layer: RetryLayer, request: Request<()>, first: Response<String>) -> usize {
    let arrivals = Arrivals::default();
    layer.layer(server(&arrivals, &[first, ok()])).oneshot(request).await.unwrap();
    arrivals.count()
}

/// Retries what names a time, as GitHub (403), some stores (413) and WAFs (418) do.
fn obeys_any_status() -> RetryLayer {
    RetryLayer::new().policy(|outcome| {
        let names_a_time = outcome.headers()?.contains_key("retry-after");
        let status = outcome.status()?.as_u16();
        (names_a_time && matches!(status, 403 | 413 | 418)).then(RetryDecision::not_begun)
    })
}

#[tokio::test(start_paused = true)]
async fn a_rule_adds_statuses_and_the_time_that_they_name_is_waited_for() {
    for status in [403, 413, 418] {
        let names_a_time = || response(status, &[("retry-after", "3")]);
        for method in [Method::GET, Method::POST] {
            assert_eq!(
                attempts(obeys_any_status(), request(method.clone()), names_a_time()).await,
                2
            );
            assert_eq!(attempts(RetryLayer::new(), request(method), names_a_time()).await, 1);
        }
        assert_eq!(attempts(obeys_any_status(), get(), response(status, &[])).await, 1);
    }
    let arrivals = Arrivals::default();
    let first = response(403, &[("retry-after", "3")]);
    obeys_any_status().layer(server(&arrivals, &[first, ok()])).oneshot(get()).await.unwrap();
    assert!(arrivals.gaps()[0] >= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_rule_makes_an_outcome_final() {
    let layer = RetryLayer::new()
        .policy(|outcome| (outcome.status()?.as_u16() == 503).then(RetryDecision::give_up));
    assert_eq!(attempts(layer.clone(), get(), response(503, &[])).await, 1);
    assert_eq!(attempts(layer, get(), response(502, &[])).await, 2, "left to the layer");
}

#[tokio::test(start_paused = true)]
async fn a_rule_sets_the_wait() {
    let arrivals = Arrivals::default();
    let wait = Duration::from_millis(300);
    let layer =
        RetryLayer::new().policy(move |outcome| Some(outcome.default_decision().after(wait)));
    let first = response(503, &[("retry-after", "5")]);
    layer.layer(server(&arrivals, &[first, ok()])).oneshot(get()).await.unwrap();
    let gap = arrivals.gaps()[0].as_millis();
    assert!((300..=401).contains(&gap), "{gap}");
}

#[tokio::test(start_paused = true)]
async fn a_rule_whose_wait_has_no_end_gives_up_and_does_not_panic() {
    let layer = RetryLayer::new().policy(|_| Some(RetryDecision::not_begun().after(Duration::MAX)));
    let layer = layer.deadline(Duration::MAX);
    assert_eq!(attempts(layer, get(), response(503, &[])).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_sees_the_error_and_the_number_of_the_attempt() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    let layer = RetryLayer::new().policy(move |outcome| {
        let error = outcome.error().map(ToString::to_string);
        recorder.lock().unwrap().push((outcome.attempt(), outcome.is_idempotent(), error));
        None
    });
    let broken = service_fn(|_: Request<()>| {
        ready(Err::<Response<String>, _>(std::io::Error::other("cable cut")))
    });
    layer.layer(broken).oneshot(get()).await.unwrap_err();
    let cut = Some("cable cut".to_owned());
    let expected = [(1, true, cut.clone()), (2, true, cut.clone()), (3, true, cut)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// The keys of the attempts of a request.
async fn keys(layer: &RetryLayer, request: Request<()>) -> Vec<Option<String>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    let inner = service_fn(move |request: Request<()>| {
        let key = request.headers().get("idempotency-key");
        recorder.lock().unwrap().push(key.map(|key| key.to_str().unwrap().to_owned()));
        ready(Ok::<_, Infallible>(response(502, &[])))
    });
    layer.layer(inner).oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_made_once_for_a_request_and_repeated_with_each_attempt() {
    let layer = RetryLayer::new().idempotency_keys(true).seed(7);
    let mut all = HashSet::new();
    for method in [Method::POST, Method::PATCH, Method::POST] {
        let keys = keys(&layer, request(method)).await;
        assert_eq!(keys.len(), 3);
        assert!(keys[0].as_ref().is_some_and(|key| key.starts_with('"') && key.ends_with('"')));
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert!(all.insert(keys[0].clone()), "a seed must not repeat keys");
    }
    assert_eq!(keys(&layer, get()).await, [None, None, None], "a GET needs none");
    assert_eq!(keys(&RetryLayer::new(), request(Method::POST)).await, [None]);
    let mut own = request(Method::POST);
    own.headers_mut().insert("idempotency-key", "mine".parse().unwrap());
    assert_eq!(keys(&layer, own).await[0].as_deref(), Some("mine"));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_after_an_attempt_with_the_same_key_is_retried() {
    let arrivals = Arrivals::default();
    let responses = [response(504, &[]), response(409, &[]), ok()];
    let layer = RetryLayer::new().idempotency_keys(true);
    let last = layer.layer(server(&arrivals, &responses)).oneshot(request(Method::POST)).await;
    assert_eq!(last.unwrap().status(), 200);
    assert_eq!(attempts(layer, request(Method::POST), response(409, &[])).await, 1, "not at first");
}
