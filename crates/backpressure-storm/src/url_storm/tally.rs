//! What a step keeps of its attempts beside their events: what refusals said, and whether it was true.

use crate::url_storm::call::Call;
use crate::url_storm::failure::Failure;
use crate::url_storm::outcome::Outcome;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// A refusal, since the start of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) at: Duration,
    pub(crate) told: Option<Duration>,
}

/// An attempt after a refusal that had told a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Return {
    pub(crate) told: Duration,
    /// Whether the client had waited as long as it was told.
    pub(crate) obeyed: bool,
    /// Whether it was answered.
    pub(crate) let_in: bool,
}

/// A good attempt: when it was answered, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GoodAttempt {
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    pub(crate) body_bytes: usize,
}

/// What a step keeps. Its size is bounded by the attempts of the step.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kept {
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) returns: Vec<Return>,
    pub(crate) good: Vec<GoodAttempt>,
    /// Attempts that this process could not make.
    pub(crate) not_sent: u32,
    /// What else came back, in words.
    pub(crate) other: BTreeMap<String, u32>,
}

/// Most different texts that are kept of what else came back.
const MAX_OTHER: usize = 8;
/// Tokio's timer ends within a millisecond of when it was due, and the clock of the client may round.
const TIMER_SLACK: Duration = Duration::from_millis(5);

/// The tally of a step.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Kept>);

impl Tally {
    /// Writes down the outcome of an attempt that was sent at `sent` in a step that began at `start`.
    pub(crate) fn note(&self, start: Instant, sent: Instant, call: &Call, outcome: &Outcome) {
        let now = Instant::now();
        let at = now.saturating_duration_since(start);
        let mut kept = self.0.lock().expect("no thread panics while it notes");
        let mut last = call.last_refusal();
        if let Some((refused, told)) = last.take() {
            let obeyed = sent.saturating_duration_since(refused) + TIMER_SLACK >= told;
            kept.returns.push(Return { told, obeyed, let_in: matches!(outcome, Outcome::Good(_)) });
        }
        match outcome {
            Outcome::Good(answer) => {
                kept.good.push(GoodAttempt { at, took: now - sent, body_bytes: answer.body_bytes });
            }
            Outcome::Refused(_, told) => {
                kept.refusals.push(Refusal { at, told: *told });
                *last = told.map(|told| (now, told));
            }
            Outcome::Useless(answer) => kept.add_other(answer.describe()),
            Outcome::Failed(Failure::Local(_)) => kept.not_sent += 1,
            Outcome::Failed(failure) => kept.add_other(failure.to_string()),
            Outcome::Late => {}
        }
    }

    /// Takes what was kept so far.
    pub(crate) fn take(&self) -> Kept {
        std::mem::take(&mut self.0.lock().expect("no thread panics while it notes"))
    }
}

impl Kept {
    fn add_other(&mut self, text: String) {
        if self.other.len() < MAX_OTHER || self.other.contains_key(&text) {
            *self.other.entry(text).or_default() += 1;
        }
    }
}
