//! Responses, and whether they are retried.

use super::Fields;

/// A first response, and what follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) fields: Fields,
    /// Attempts of a GET and of a POST.
    pub(super) get: usize,
    pub(super) post: usize,
    pub(super) least_wait_millis: u64,
    pub(super) why: &'static str,
}

const fn outcome(
    status: u16,
    fields: Fields,
    (get, post, least_wait_millis): (usize, usize, u64),
    why: &'static str,
) -> Outcome {
    Outcome { status, fields, get, post, least_wait_millis, why }
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

pub(super) const OUTCOMES: &[Outcome] = &[
    outcome(200, &[], (1, 1, 0), ""),
    outcome(301, &[("retry-after", "5")], (1, 1, 0), "redirections are not for this layer"),
    outcome(400, &[], (1, 1, 0), ""),
    outcome(403, &[("retry-after", "5")], (1, 1, 0), "by a rule: GitHub's secondary limits"),
    outcome(408, &[], (2, 1, 0), "RFC 9110, section 15.5.9"),
    outcome(409, &[], (1, 1, 0), "retried after an attempt with the same `Idempotency-Key`"),
    outcome(413, &[("retry-after", "5")], (1, 1, 0), "by a rule"),
    outcome(421, &[], (2, 2, 0), "RFC 9110, section 15.5.20: not begun"),
    outcome(425, &[], (2, 2, 0), "RFC 8470: not begun"),
    outcome(429, &[], (2, 2, 1_000), "RFC 6585: not begun; nginx and haproxy name no time"),
    outcome(429, &[("retry-after", "5")], (2, 2, 5_000), ""),
    outcome(429, &[("retry-after", "0")], (2, 2, 0), "the server asks for no delay"),
    outcome(429, &[("retry-after", "-1")], (1, 1, 0), "a negative delay is \"do not retry\""),
    outcome(429, &[("retry-after", "90")], (1, 1, 0), "beyond `max_retry_after` and the deadline"),
    outcome(429, &[("x-should-retry", "false")], (1, 1, 0), ""),
    outcome(500, &[], (1, 1, 0), "a defect is not repaired by a repetition"),
    outcome(500, &[("x-should-retry", "true")], (2, 1, 0), ""),
    outcome(501, &[], (1, 1, 0), ""),
    outcome(502, &[], (2, 1, 0), ""),
    outcome(503, &[], (2, 1, 1_000), "a handler may have done a part of the work"),
    outcome(503, &[("x-shed-reason", "limit")], (2, 2, 1_000), "this library's promise: not begun"),
    outcome(503, &[("retry-after", "5")], (2, 1, 5_000), ""),
    outcome(504, &[], (2, 1, 0), ""),
    outcome(505, &[], (1, 1, 0), ""),
    outcome(529, &[], (2, 1, 1_000), "\"site is overloaded\""),
    outcome(
        200,
        &[GRPC, ("grpc-status", "14")],
        (2, 1, 1_000),
        "UNAVAILABLE may come from a lost connection",
    ),
    outcome(
        200,
        &[GRPC, ("grpc-status", "14"), ("grpc-retry-pushback-ms", "250")],
        (2, 1, 200),
        "gRPC proposal A6; a handler may have passed it on",
    ),
    outcome(
        200,
        &[
            GRPC,
            ("grpc-status", "14"),
            ("x-shed-reason", "limit"),
            ("grpc-retry-pushback-ms", "250"),
        ],
        (2, 2, 200),
        "a server of this crate has not begun it",
    ),
    outcome(
        200,
        &[GRPC, ("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")],
        (1, 1, 0),
        "gRPC proposal A6",
    ),
    outcome(
        200,
        &[GRPC, ("grpc-status", "14"), ("grpc-retry-pushback-ms", "soon")],
        (1, 1, 0),
        "gRPC proposal A6",
    ),
    outcome(
        200,
        &[GRPC, ("grpc-status", "8")],
        (1, 1, 0),
        "a quota, or a message that is too large",
    ),
    outcome(
        200,
        &[GRPC, ("grpc-status", "8"), ("grpc-retry-pushback-ms", "2000")],
        (2, 1, 2_000),
        "OTLP: only if the server says when",
    ),
    outcome(
        200,
        &[GRPC, ("grpc-status", "13"), ("grpc-retry-pushback-ms", "250")],
        (1, 1, 0),
        "pushback is for codes that are retried",
    ),
];
