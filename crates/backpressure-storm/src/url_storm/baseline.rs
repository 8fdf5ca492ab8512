//! Before the storm: does the service answer usefully at all, and how fast is it without load?

use crate::event_log::{Log, percentile};
use crate::url_storm::attempts::Attempts;
use crate::url_storm::call::Call;
use crate::url_storm::failure::Failure;
use crate::url_storm::measure::Lab;
use crate::url_storm::outcome::Outcome;
use crate::url_storm::tally::Tally;
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The service without load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// A cache said that it had answered.
    pub(crate) cached: bool,
    /// Bytes of the shortest and of the longest good body.
    pub(crate) body_bytes: (usize, usize),
}

impl Baseline {
    /// Whether a body is less than half as long as any without load, or more than twice as long.
    pub(crate) const fn is_other_length(&self, body_bytes: usize) -> bool {
        let (shortest, longest) = self.body_bytes;
        body_bytes < shortest / 2 || body_bytes > longest.saturating_mul(2)
    }
}

/// Requests of which one has to be answered.
const FIRST_REQUESTS: usize = 5;
/// How long each of them may take, where the deadline is shorter: a cold service may load something.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// How long latency without load is measured, and with how many requests at most.
const MEASURED: Duration = Duration::from_millis(1_500);
const MAX_REQUESTS: usize = 300;

/// Asks one request at a time.
pub(crate) async fn baseline(lab: &Lab) -> Result<Baseline, String> {
    let patience = lab.options.deadline.max(FIRST_PATIENCE);
    let log = Arc::new(Log::starting(Instant::now()));
    let attempts = lab.attempts(patience, log, Arc::new(Tally::default()));
    first_answers(&attempts).await?;
    let mut latencies = Vec::new();
    let mut cached = false;
    let mut body_bytes = (usize::MAX, 0);
    let until = Instant::now() + MEASURED;
    while latencies.len() < MAX_REQUESTS && (Instant::now() < until || latencies.is_empty()) {
        let sent = Instant::now();
        match attempts.clone().attempt(attempts.request()).await {
            Outcome::Good(answer) => {
                latencies.push(sent.elapsed());
                cached |= is_from_cache(&answer.headers);
                let (shortest, longest) = body_bytes;
                body_bytes = (shortest.min(answer.body_bytes), longest.max(answer.body_bytes));
                sleep(Duration::from_millis(2)).await;
            }
            // A rate limit: the next request has to wait for it.
            _ => sleep(Duration::from_millis(50)).await,
        }
        if latencies.is_empty() && sent > until + FIRST_PATIENCE * 2 {
            return Err(
                "the service answered, and then did not answer one request in ten seconds".into()
            );
        }
    }
    latencies.sort_unstable();
    let at = |share| percentile(&latencies, share).unwrap_or_default();
    let (p50, p99) = (at(0.5), at(0.99));
    if p50 > lab.options.deadline / 2 {
        return Err(format!(
            "one request at a time takes {} ms, and the deadline is {} ms: nothing could be answered in time under load. \
             Give a longer --deadline",
            p50.as_millis(),
            lab.options.deadline.as_millis()
        ));
    }
    Ok(Baseline { p50, p99, cached, body_bytes })
}

/// One of the first requests has to be answered; otherwise says what came instead.
async fn first_answers(attempts: &Attempts) -> Result<(), String> {
    let mut instead: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..FIRST_REQUESTS {
        let request = attempts.request();
        let call = request.extensions().get::<Call>().cloned().unwrap_or_default();
        let text = match attempts.clone().attempt(request).await {
            Outcome::Good(_) => return Ok(()),
            Outcome::Refused(answer, _) => {
                format!("status {} (a refusal, without load)", answer.status)
            }
            Outcome::Useless(answer) => answer.describe() + hint(answer.status),
            Outcome::Late => match call.received() {
                None => format!("no answer within {:?}", attempts.deadline),
                Some(bytes) => format!(
                    "a body that had not ended after {:?} and {bytes} bytes",
                    attempts.deadline
                ),
            },
            Outcome::Failed(failure) => failure.to_string() + version_hint(&failure, attempts),
        };
        *instead.entry(text).or_default() += 1;
        // The same again, five times over, would only take time.
        if instead.values().any(|&count| count > 1) && attempts.log.start.elapsed() > FIRST_PATIENCE
        {
            break;
        }
    }
    let list: Vec<String> =
        instead.into_iter().map(|(text, count)| format!("{count} × {text}")).collect();
    Err(format!(
        "the service does not answer usefully without load, so that a storm would say nothing: {}",
        list.join("; ")
    ))
}

/// What to try where the answer is another version of HTTP.
fn version_hint(failure: &Failure, attempts: &Attempts) -> &'static str {
    match failure {
        Failure::NotHttp(_) if attempts.target.http2 => ": without --http2, HTTP/1.1 is spoken",
        Failure::NotHttp(_) => ": --http2 is for a service that speaks HTTP/2 only",
        _ => "",
    }
}

const fn hint(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => ": redirects are not followed, give the URL where they lead",
        401 | 403 | 407 => ": credentials go into --header 'authorization: …'",
        404 | 410 => ": is the path right?",
        405 => ": is the method right?",
        400 => ": is the body right, or does the port speak https:// only?",
        415 | 422 => ": is the body right?",
        503 => ": is the service still starting?",
        _ => "",
    }
}

/// Fields by which caches say that they answered.
fn is_from_cache(headers: &HeaderMap) -> bool {
    let says = |name: &str, what: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().contains(what))
    };
    headers.contains_key("age")
        || ["x-cache", "cf-cache-status", "x-cache-status", "cache-status"]
            .iter()
            .any(|name| says(name, "hit"))
}
