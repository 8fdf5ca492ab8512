//! What is sent again, and what is handed over.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{Attempts, RetryLayer};

use crate::near_end::{Arrivals, answer, get, ok, request, server};

/// How often such a request is sent when the first answer is this one.
async fn sent(request: Request<()>, first: Response<&'static str>) -> usize {
    let arrivals = Arrivals::default();
    let service = RetryLayer::new().layer(server(&arrivals, &[first, ok()]));
    service.oneshot(request).await.unwrap();
    arrivals.count()
}

#[tokio::test(start_paused = true)]
async fn a_post_against_a_plain_503_is_sent_once() {
    assert_eq!(sent(request(Method::POST), answer(503, &[])).await, 1);
    assert_eq!(sent(request(Method::PATCH), answer(502, &[])).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_not_begun_is_sent_again() {
    let shed = answer(503, &[("x-shed-reason", "limit"), ("retry-after", "1")]);
    assert_eq!(sent(request(Method::POST), shed).await, 2);
    for status in [421, 425, 429] {
        assert_eq!(sent(request(Method::POST), answer(status, &[])).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_trust_the_word_sends_a_post_once_and_a_get_again() {
    let marked = [("x-shed-reason", "limit"), ("retry-after", "1")];
    for status in [421, 425, 429, 503] {
        for (method, attempts) in [(Method::POST, 1), (Method::GET, 2)] {
            let arrivals = Arrivals::default();
            let answers = [answer(status, &marked), ok()];
            let layer = RetryLayer::new().trust_not_begun(false);
            layer.layer(server(&arrivals, &answers)).oneshot(request(method)).await.unwrap();
            assert_eq!(arrivals.count(), attempts, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let mut post = request(Method::POST);
    let key = "\"8e03978e\"".parse().unwrap();
    post.headers_mut().insert("idempotency-key", key);
    assert_eq!(sent(post, answer(503, &[])).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_get_is_sent_again_after_whatever_passes() {
    for status in [408, 429, 502, 503, 504] {
        assert_eq!(sent(get(), answer(status, &[])).await, 2, "{status}");
    }
    for status in [200, 404, 500, 501] {
        assert_eq!(sent(get(), answer(status, &[])).await, 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_the_servers_own() {
    let arrivals = Arrivals::default();
    let busy = answer(503, &[("retry-after", "1"), ("x-queue", "91")]);
    let service = RetryLayer::new().layer(server(&arrivals, &[busy]));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["x-queue"], "91");
    assert_eq!(Attempts::of(response.extensions()), Attempts(3));
    assert_eq!(*response.body(), "the server's own words");
    assert_eq!(arrivals.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn errors_are_retried_for_idempotent_requests_only() {
    for (method, attempts) in [(Method::GET, 3), (Method::PUT, 3), (Method::POST, 1)] {
        let arrivals = Arrivals::default();
        let noted = arrivals.clone();
        let broken = service_fn(move |_: Request<()>| {
            noted.note();
            ready(Err::<Response<()>, _>("connection reset"))
        });
        let outcome = RetryLayer::new().layer(broken).oneshot(request(method)).await;
        assert_eq!(outcome.unwrap_err(), "connection reset");
        assert_eq!(arrivals.count(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn one_attempt_is_sent_without_a_copy() {
    #[derive(Debug)]
    struct Once;

    impl Clone for Once {
        fn clone(&self) -> Self {
            panic!("a copy nobody will send");
        }
    }

    let layer = RetryLayer::new().max_attempts(1);
    let service =
        layer.layer(service_fn(|_: Request<Once>| ready(Ok::<_, Infallible>(answer(503, &[])))));
    let response = service.oneshot(Request::new(Once)).await.unwrap();
    assert_eq!(Attempts::of(response.extensions()), Attempts(1));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_carries_the_same_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let echo = service_fn(move |request: Request<&'static str>| {
        let (parts, body) = request.into_parts();
        noted.lock().unwrap().push((parts.method, parts.uri, parts.headers, body));
        ready(Ok::<_, Infallible>(answer(503, &[])))
    });
    let put = Request::put("/a?b=c").header("x-id", "1").body("body").unwrap();
    RetryLayer::new().layer(echo).oneshot(put).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|each| *each == seen[0]));
}
