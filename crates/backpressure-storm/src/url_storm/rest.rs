//! Waits between measurements until the service is at rest.

use crate::event_log::Log;
use crate::url_storm::baseline::Baseline;
use crate::url_storm::failure::Failure;
use crate::url_storm::measure::Lab;
use crate::url_storm::outcome::Outcome;
use crate::url_storm::tally::Tally;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The state of the service after a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It answers as fast as without load.
    Idle,
    /// It answers, more slowly than without load.
    Slow,
    /// It gives no good answer; what it gives instead.
    Down(String),
    /// Nothing listens any more.
    Dead,
}

impl Rest {
    /// Whether the service gives good answers.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Idle | Self::Slow)
    }
}

/// Longest wait. A service that has nothing to do and needs longer does not come back by itself.
const MAX_REST: Duration = Duration::from_secs(30);
/// A service that restarts listens again within this time.
const RESTARTS: Duration = Duration::from_secs(5);
/// A queue without a bound is empty when answers are no slower than this.
const AS_FAST: u32 = 3;
/// Answers in a row that show it.
const ANSWERS_IN_A_ROW: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until the service is at rest, with one request at a time.
pub(crate) async fn rest(lab: &Lab, baseline: &Baseline) -> Rest {
    let log = Arc::new(Log::starting(Instant::now()));
    let attempts = lab.attempts(lab.options.deadline, log, Arc::new(Tally::default()));
    let fast = (baseline.p99 * AS_FAST).max(Duration::from_millis(20));
    let until = Instant::now() + MAX_REST;
    let (mut fast_answers, mut last) = (0, Rest::Slow);
    let (mut refused, mut answered) = (None, false);
    let mut listened = Instant::now();
    while Instant::now() < until && listened.elapsed() < RESTARTS {
        sleep(if last == Rest::Slow { PAUSE * 3 } else { PAUSE }).await;
        let sent = Instant::now();
        last = match attempts.clone().attempt(attempts.request()).await {
            Outcome::Good(_) if sent.elapsed() <= fast => Rest::Idle,
            Outcome::Good(_) => Rest::Slow,
            // A refusal at once is an answer too: a rate limit that counts this request.
            Outcome::Refused(answer, _) => {
                refused = Some(answer.describe());
                Rest::Slow
            }
            Outcome::Failed(Failure::ConnectionRefused) => Rest::Dead,
            Outcome::Useless(answer) => Rest::Down(answer.describe()),
            Outcome::Failed(failure) => Rest::Down(failure.to_string()),
            Outcome::Late => Rest::Down("no answer in time".into()),
        };
        answered |= last == Rest::Idle || (last == Rest::Slow && refused.is_none());
        if last != Rest::Dead {
            listened = Instant::now();
        }
        fast_answers = if last == Rest::Idle { fast_answers + 1 } else { 0 };
        if fast_answers == ANSWERS_IN_A_ROW {
            return Rest::Idle;
        }
    }
    match refused {
        Some(refused) if last == Rest::Slow && !answered => Rest::Down(refused),
        _ => last,
    }
}
