use super::*;
use crate::headers::shed_reason::SHED_REASON;

/// The default decision about a response to the first attempt, with trust.
fn decision(status: u16, fields: &[(&'static str, &str)]) -> RetryDecision {
    decision_of(status, fields, |_| {})
}

fn decision_of(
    status: u16,
    fields: &[(&'static str, &str)],
    change: impl FnOnce(&mut AttemptOutcome<'_>),
) -> RetryDecision {
    let fields = fields.iter().map(|(name, value)| (HeaderName::from_static(name), value));
    let headers: HeaderMap = fields.map(|(name, value)| (name, value.parse().unwrap())).collect();
    let extensions = Extensions::new();
    let status = StatusCode::from_u16(status).unwrap();
    let mut outcome = AttemptOutcome {
        attempt: 1,
        idempotent: true,
        has_idempotency_key: false,
        trusts_not_begun: true,
        sent_to: None,
        end: AttemptEnd::Response { status, headers: &headers, extensions: &extensions, url: None },
    };
    change(&mut outcome);
    outcome.default_decision()
}

const MARKED: &[(&str, &str)] = &[("x-shed-reason", "limit")];

#[test]
fn a_request_that_may_have_been_begun_is_retried_only_if_idempotent() {
    for status in [408, 502, 503, 504, 529] {
        assert_eq!(decision(status, &[]), RetryDecision::if_idempotent(), "{status}");
    }
    assert_eq!(decision(502, MARKED), RetryDecision::if_idempotent());
}

#[test]
fn a_request_that_was_not_begun_is_retried_with_any_method() {
    for status in [421, 425, 429] {
        assert_eq!(decision(status, &[]), RetryDecision::not_begun(), "{status}");
    }
    assert_eq!(decision(503, MARKED), RetryDecision::not_begun());
}

#[test]
fn a_client_that_does_not_trust_the_server_retries_only_idempotent_requests() {
    for status in [421, 425, 429, 503] {
        let decision = decision_of(status, MARKED, |outcome| outcome.trusts_not_begun = false);
        assert_eq!(decision, RetryDecision::if_idempotent(), "{status}");
    }
}

#[test]
fn a_rejection_by_a_layer_of_this_client_needs_no_trust() {
    let shed =
        backpressure_core::Shed::new(backpressure_core::Reason::Limit, Duration::from_secs(1));
    let mut extensions = Extensions::new();
    extensions.insert(shed);
    let headers = HeaderMap::from_iter([(SHED_REASON, "limit".parse().unwrap())]);
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let decision = decision_of(503, MARKED, |outcome| {
        outcome.trusts_not_begun = false;
        let end =
            AttemptEnd::Response { status, headers: &headers, extensions: &extensions, url: None };
        let local = AttemptOutcome { end, ..*outcome };
        assert_eq!(local.default_decision(), RetryDecision::not_begun());
    });
    assert_eq!(decision, RetryDecision::if_idempotent());
}

#[test]
fn no_other_response_is_retried() {
    for status in [200, 204, 301, 304, 400, 403, 404, 409, 413, 422, 500, 501, 505] {
        assert_eq!(decision(status, MARKED), RetryDecision::give_up(), "{status}");
    }
}

#[test]
fn a_server_that_asks_for_a_retry_gets_one_from_idempotent_requests() {
    for status in [400, 409, 500] {
        let decision = decision(status, &[("x-should-retry", "true")]);
        assert_eq!(decision, RetryDecision::if_idempotent(), "{status}");
    }
    for status in [200, 304] {
        assert_eq!(decision(status, &[("x-should-retry", "true")]), RetryDecision::give_up());
    }
}

#[test]
fn a_conflict_with_an_earlier_attempt_of_the_same_key_is_retried() {
    let conflict = |attempt, has_idempotency_key| {
        decision_of(409, &[], |outcome| {
            outcome.attempt = attempt;
            outcome.has_idempotency_key = has_idempotency_key;
        })
    };
    assert_eq!(conflict(2, true), RetryDecision::if_idempotent());
    assert_eq!(conflict(1, true), RetryDecision::give_up());
    assert_eq!(conflict(2, false), RetryDecision::give_up());
}

#[test]
fn a_grpc_call_is_retried_by_its_status_and_pushback() {
    let pushback = ("grpc-retry-pushback-ms", "250");
    let details = ("grpc-status-details-bin", RETRY_INFO);
    for status in ["8", "14"] {
        for (word, expected) in [
            // A handler may have passed them on after it did work.
            (pushback, RetryDecision::if_idempotent()),
            (details, RetryDecision::if_idempotent()),
            (MARKED[0], RetryDecision::not_begun()),
        ] {
            let decision = decision(200, &[("grpc-status", status), word]);
            assert_eq!(decision, expected, "{status} {word:?}");
        }
    }
    assert_eq!(decision(200, &[("grpc-status", "14")]), RetryDecision::if_idempotent());
    for status in ["0", "1", "2", "4", "8", "10", "13", "nonsense"] {
        assert_eq!(decision(200, &[("grpc-status", status)]), RetryDecision::give_up(), "{status}");
    }
    assert_eq!(decision(200, &[("grpc-status", "13"), pushback]), RetryDecision::give_up());
}

/// A status with a `RetryInfo` of 2.5 s.
const RETRY_INFO: &str = "CA4SCm92ZXJsb2FkZWQaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ==";
