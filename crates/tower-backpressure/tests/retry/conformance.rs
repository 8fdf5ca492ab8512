//! What the client reads of when to come back, literal by literal, beside what other clients do.
//!
//! The tables are the source of `docs/conformance.md`: `CONFORMANCE_BLESS=1 cargo test -p tower-backpressure
//! --test retry conformance` writes it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower::{Layer, ServiceExt};
use tower_backpressure::{RetryAfter, RetryBudget, RetryLayer};

use self::delays::{DELAYS, Delay};
use self::outcomes::{OUTCOMES, Outcome};
use crate::memory_server::{Arrivals, ok, request, response, server};

mod delays;
mod outcomes;

/// Header fields, in order.
type Fields = &'static [(&'static str, &'static str)];

/// The moment at which all responses arrive: Saturday, 21 November 2026, 08:00:00 UTC.
const ARRIVAL: Duration = Duration::from_secs(1_795_248_000);

#[test]
fn every_literal_is_read_as_the_table_says() {
    let mut misread = String::new();
    for delay in DELAYS.iter().flat_map(|section| section.delays) {
        let read = (tolerant(delay.fields), strict(delay.fields));
        if read != (delay.ours.into(), delay.strict.into()) {
            let _ = writeln!(misread, "{read:?}, not {:?}: {:?}", delay.ours, delay.fields);
        }
    }
    assert!(misread.is_empty(), "\n{misread}");
}

#[test]
fn at_least_forty_literals_are_from_public_threads() {
    let threads: Vec<_> = DELAYS
        .iter()
        .flat_map(|section| section.delays)
        .filter(|delay| delay.source.contains('#'))
        .map(|delay| delay.source)
        .collect();
    assert!(threads.len() >= 40, "{}", threads.len());
}

#[tokio::test(start_paused = true)]
async fn every_outcome_is_retried_as_the_table_says() {
    for outcome in OUTCOMES {
        let (get, post) = attempts(outcome).await;
        assert_eq!((get.0, post.0), (outcome.get, outcome.post), "{outcome:?}");
        assert_eq!(get.1.max(post.1), outcome.least_wait_millis, "{outcome:?}");
    }
}

#[test]
fn the_document_is_made_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let document = document();
    if std::env::var_os("CONFORMANCE_BLESS").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document,
        "docs/conformance.md is out of date: see the head of conformance.rs"
    );
}

/// What [`RetryAfter::from_headers`] returns, in words.
fn tolerant(fields: Fields) -> String {
    in_words(RetryAfter::from_headers(&headers(fields), UNIX_EPOCH + ARRIVAL), "nothing")
}

/// What [`RetryAfter::strict`] returns, in words.
fn strict(fields: Fields) -> String {
    in_words(RetryAfter::strict(&headers(fields), UNIX_EPOCH + ARRIVAL), "–")
}

fn in_words(read: Option<RetryAfter>, nothing: &str) -> String {
    match read {
        None => nothing.into(),
        Some(read) if read.forbids_retry() => "no retry".into(),
        Some(read) if read.is_capped() => "too long".into(),
        Some(read) => {
            let delay = read.delay();
            let text = format!("{}.{:09}", delay.as_secs(), delay.subsec_nanos());
            format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

fn headers(fields: Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// The attempts of a GET and of a POST whose first response this is, and the shortest wait before a second
/// one in tenths of a second, as milliseconds.
async fn attempts(outcome: &Outcome) -> ((usize, u64), (usize, u64)) {
    let mut results = Vec::new();
    for method in [Method::GET, Method::POST] {
        let (mut attempts, mut waits) = (0, Vec::new());
        for seed in 0..64 {
            let arrivals = Arrivals::default();
            let first = response(outcome.status, outcome.fields);
            let layer = RetryLayer::new().seed(seed).budget(RetryBudget::new(1.0));
            let service = layer.layer(server(&arrivals, &[first, ok()]));
            service.oneshot(request(method.clone())).await.unwrap();
            attempts = arrivals.count();
            waits.extend(arrivals.gaps());
        }
        let least = waits.iter().min().map_or(0, Duration::as_millis);
        results.push((attempts, u64::try_from(least / 100 * 100).unwrap()));
    }
    (results[0], results[1])
}

fn document() -> String {
    let mut text = String::from(HEAD);
    for section in DELAYS {
        let _ = write!(text, "\n### {}\n\n{DELAY_HEAD}", section.title);
        for Delay { fields, ours, strict, others, source } in section.delays {
            let fields = in_code(fields);
            let _ = writeln!(text, "| {fields} | {ours} | {strict} | {others} | {source} |");
        }
    }
    text.push_str(OUTCOME_HEAD);
    for Outcome { status, fields, get, post, least_wait_millis, why } in OUTCOMES {
        let fields = in_code(fields);
        let wait = match least_wait_millis {
            _ if get.max(post) == &1 => "–".into(),
            0 => "backoff".into(),
            millis => format!("≥ {} s", Duration::from_millis(*millis).as_secs_f64()),
        };
        let _ = writeln!(text, "| {status} {fields} | {get} | {post} | {wait} | {why} |");
    }
    text
}

fn in_code(fields: Fields) -> String {
    let fields = fields.iter().map(|(name, value)| match value.is_empty() {
        true => format!("`{name}:`"),
        false => format!("`{name}: {value}`"),
    });
    fields.collect::<Vec<_>>().join("<br>")
}

const HEAD: &str = "\
# What the client reads of when to come back

Servers say in many ways when a request should be sent again. This page has one line for each literal that was tried, and is
written by the test that tries them: `cargo test -p tower-backpressure --test retry conformance`. Each response arrives on
Saturday, 21 November 2026, at 08:00:00 UTC.

- **ours** is `RetryAfter::from_headers`, the default of `RetryLayer`. *Nothing* means that the server named no time: after a
  429, 503 or 529 a retry waits for at least a second. *Too long* is more than ten minutes, and `RetryLayer` returns the
  response with the value in it. A value that cannot be read is one second, and never \"at once\".
- **strict** is `RetryAfter::strict`: RFC 9110 to the letter.
- **other clients** is what was found in their sources, documents and issues; empty where nothing is known.

A wait is never shorter than the delay, and has some jitter on top.

## Delays
";

const DELAY_HEAD: &str = "\
| response | ours | strict | other clients | source |
|---|---|---|---|---|
";

const OUTCOME_HEAD: &str = "
## Outcomes

Attempts of a request with the default `RetryLayer` whose first response is this one and whose second is a 200, and the
shortest wait before the second attempt among 64 seeds, rounded down to tenths of a second.

| first response | GET | POST | wait | why |
|---|---|---|---|---|
";
