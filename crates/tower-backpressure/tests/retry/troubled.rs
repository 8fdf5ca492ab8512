//! Origins that lie, stall or die for ten seconds, behind all client layers: they are not sent more than usual meanwhile,
//! and callers are served again within three seconds of the end.

use std::io::ErrorKind;
use std::time::Duration;

mod world;

use self::world::{Answer, Report, Trouble, run};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

const fn head(status: u16, fields: &'static [(&'static str, &'static str)]) -> Answer {
    Answer::Head { status, fields }
}

/// Requests a second: of a quiet client, and of a busy one.
const RATES: [u32; 2] = [5, 60];

/// At most one retry in ten requests, the reserve of the budget, and what a quiet client may always send.
fn most_attempts(requests: usize) -> usize {
    requests + requests / 10 + 10 + 3
}

async fn assert_recovers(trouble: Trouble) -> [Report; 2] {
    let mut reports = Vec::new();
    for rate in RATES {
        let report = run(trouble, rate).await;
        let context = format!("{trouble:?} at {rate}/s: {report:?}");
        assert!(report.attempts <= most_attempts(report.requests), "{context}");
        assert!(report.back_after <= Duration::from_secs(3), "{context}");
        reports.push(report);
    }
    [reports[0], reports[1]]
}

async fn assert_recovers_from_all(answers: &[Answer]) {
    for &answer in answers {
        assert_recovers(Trouble { one_in: 1, answer, otherwise: None }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_rejects_all_requests_without_a_time_is_used_again_within_three_seconds() {
    assert_recovers_from_all(&[
        head(429, &[]),
        head(503, &[]),
        head(529, &[]),
        head(502, &[]),
        head(504, &[]),
        head(500, &[]),
        head(421, &[]),
        head(425, &[]),
        head(200, &[GRPC, ("grpc-status", "14")]),
        head(200, &[GRPC, ("grpc-status", "8")]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_asks_for_a_retry_at_once_gets_no_storm() {
    assert_recovers_from_all(&[
        head(429, &[("retry-after", "0")]),
        head(503, &[("retry-after", "0")]),
        head(503, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
        head(529, &[("retry-after", "0")]),
        head(408, &[("retry-after", "0")]),
        head(425, &[("retry-after", "0")]),
        head(500, &[("x-should-retry", "true")]),
        head(429, &[("ratelimit", "\"default\";r=0;t=0")]),
        head(503, &[("x-shed-reason", "limit"), ("retry-after", "0")]),
        head(200, &[GRPC, ("grpc-status", "14"), ("grpc-retry-pushback-ms", "0")]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_names_a_short_time_or_forbids_retries_is_used_again_when_it_is_back() {
    let two_seconds_by_a_wrong_clock = head(
        503,
        &[
            ("date", "Fri, 27 Nov 2020 03:00:00 GMT"),
            ("retry-after", "Fri, 27 Nov 2020 03:00:02 GMT"),
        ],
    );
    assert_recovers_from_all(&[
        head(429, &[("retry-after", "1")]),
        head(503, &[("retry-after", "1")]),
        head(503, &[("retry-after", "soon")]),
        head(503, &[("x-shed-reason", "limit"), ("retry-after", "1")]),
        two_seconds_by_a_wrong_clock,
        head(503, &[("x-should-retry", "false")]),
        head(403, &[("retry-after", "1")]),
        head(200, &[GRPC, ("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_down_hangs_or_breaks_off_is_used_again_when_it_is_back() {
    assert_recovers_from_all(&[
        Answer::Fails(ErrorKind::ConnectionReset),
        Answer::Fails(ErrorKind::ConnectionRefused),
        Answer::Hangs,
        Answer::Slow(Duration::from_secs(3)),
        Answer::SlowBody(Duration::from_secs(5)),
        Answer::BodyFails,
    ])
    .await;
    for (answer, otherwise) in [
        (head(503, &[("retry-after", "0")]), Answer::Fails(ErrorKind::ConnectionReset)),
        (head(503, &[("retry-after", "1")]), Answer::Hangs),
        (head(429, &[]), Answer::Fails(ErrorKind::ConnectionRefused)),
        (head(502, &[]), Answer::Hangs),
    ] {
        assert_recovers(Trouble { one_in: 2, answer, otherwise: Some(otherwise) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_replica_of_sixteen_in_trouble_costs_its_own_share_of_the_requests_at_most() {
    for answer in [
        head(503, &[]),
        head(503, &[("retry-after", "1")]),
        head(503, &[("retry-after", "31536000")]),
        head(429, &[("retry-after", "60")]),
        head(200, &[GRPC, ("grpc-status", "14")]),
        Answer::Fails(ErrorKind::ConnectionRefused),
        Answer::Fails(ErrorKind::ConnectionReset),
        Answer::Hangs,
        Answer::BodyFails,
    ] {
        let trouble = Trouble { one_in: 16, answer, otherwise: None };
        for report in assert_recovers(trouble).await {
            assert!(report.served_meanwhile >= 0.9, "{trouble:?}: {report:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_answers_every_other_request_is_used_for_half_of_them() {
    for answer in [
        head(503, &[]),
        head(503, &[("retry-after", "0")]),
        head(503, &[("retry-after", "1")]),
        head(429, &[("retry-after", "1")]),
        head(502, &[]),
        Answer::Fails(ErrorKind::ConnectionReset),
    ] {
        let trouble = Trouble { one_in: 2, answer, otherwise: None };
        for report in assert_recovers(trouble).await {
            assert!(report.served_meanwhile >= 0.5, "{trouble:?}: {report:?}");
        }
    }
}
