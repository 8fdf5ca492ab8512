//! gRPC calls: a failed one is a 200 whose head has the status.

use http::{Method, Request, Response};
use tower::{Layer, ServiceExt};
use tower_backpressure::client::GiveUpReason;
use tower_backpressure::{Attempts, GaveUp, RetryLayer};

use crate::memory_server::{Arrivals, ok, response, server};

fn call() -> Request<()> {
    let call = Request::builder().method(Method::POST).uri("/svc/Method");
    call.header("content-type", "application/grpc").body(()).unwrap()
}

/// A rejection by a server of this crate, with this pushback.
fn unavailable(pushback: &str) -> Response<String> {
    let fields = [
        ("content-type", "application/grpc"),
        ("x-shed-reason", "limit"),
        ("grpc-status", "14"),
        ("grpc-retry-pushback-ms", pushback),
    ];
    response(200, &fields)
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_is_sent_again_once_after_its_pushback() {
    for pushback in [0_u64, 20, 250, 1_000, 2_500] {
        let arrivals = Arrivals::default();
        let responses = [unavailable(&pushback.to_string()), ok()];
        let service = RetryLayer::new().layer(server(&arrivals, &responses));
        let last = service.oneshot(call()).await.unwrap();
        assert_eq!(Attempts::of(last.extensions()), Attempts(2));
        let gap = arrivals.gaps()[0].as_millis();
        assert!(gap >= u128::from(pushback), "{gap} ms for {pushback} ms");
        assert!(gap <= u128::from(pushback) + 1_001, "{gap} ms for {pushback} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_that_is_negative_or_not_a_number_forbids_a_retry() {
    for pushback in ["-1", "-2147483648", "soon", "", "1s", "1.5", "0x10", "99999999999"] {
        let arrivals = Arrivals::default();
        let service = RetryLayer::new().layer(server(&arrivals, &[unavailable(pushback)]));
        let last = service.oneshot(call()).await.unwrap();
        assert_eq!(arrivals.count(), 1, "{pushback:?}");
        let gave_up = GaveUp::of(last.extensions()).unwrap();
        assert_eq!(gave_up.reason, GiveUpReason::Forbidden, "{pushback:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_begun_is_sent_once_and_a_rule_or_a_key_changes_that() {
    let pushback = ("grpc-retry-pushback-ms", "2000");
    for fields in [&[("grpc-status", "14")][..], &[("grpc-status", "14"), pushback]] {
        let unavailable = response(200, fields);
        let arrivals = Arrivals::default();
        let service = RetryLayer::new().layer(server(&arrivals, &[unavailable.clone(), ok()]));
        let last = service.oneshot(call()).await.unwrap();
        assert_eq!(GaveUp::of(last.extensions()).unwrap().reason, GiveUpReason::NotIdempotent);
        assert_eq!(arrivals.count(), 1);

        let by_rule = RetryLayer::new().policy(|outcome| {
            let is_unavailable = outcome.grpc_status() == Some(14);
            is_unavailable.then(tower_backpressure::RetryDecision::not_begun)
        });
        let mut with_key = call();
        with_key.headers_mut().insert("idempotency-key", "\"1\"".parse().unwrap());
        for (layer, call) in [(by_rule, call()), (RetryLayer::new(), with_key)] {
            let arrivals = Arrivals::default();
            layer
                .layer(server(&arrivals, &[unavailable.clone(), ok()]))
                .oneshot(call)
                .await
                .unwrap();
            assert_eq!(arrivals.count(), 2);
            let has_pushback = fields.contains(&pushback);
            assert!(!has_pushback || arrivals.gaps()[0].as_secs() >= 2, "{fields:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_answered_is_not_sent_again() {
    for status in ["0", "3", "5", "13"] {
        let arrivals = Arrivals::default();
        let answer = response(200, &[("grpc-status", status), ("grpc-retry-pushback-ms", "1")]);
        RetryLayer::new().layer(server(&arrivals, &[answer])).oneshot(call()).await.unwrap();
        assert_eq!(arrivals.count(), 1, "{status}");
    }
}
