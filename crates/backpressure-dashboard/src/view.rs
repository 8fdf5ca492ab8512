//! What the page shows of each policy: reports, and the differences between them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tower_backpressure::observe::Report;

mod make;

use self::make::show;

/// A policy, as `state.json` has it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PolicyView {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// `server` or `client`.
    pub(crate) side: &'static str,
    pub(crate) status: Status,
    /// The layers that were seen around it, in the order of their numbers.
    pub(crate) around: Vec<u64>,
    pub(crate) dry_run: bool,
    pub(crate) pressure: f64,
    /// Why its limit is what it is.
    pub(crate) why: Option<String>,
    pub(crate) limit: Option<LimitView>,
    pub(crate) per_second: Rates,
    pub(crate) total: Totals,
    pub(crate) rejected_by: Vec<ReasonView>,
    pub(crate) response_ms: Option<Quantiles>,
    pub(crate) wait_ms: Option<Quantiles>,
    pub(crate) retry_after_s: Option<Quantiles>,
    pub(crate) retries: Option<RetriesView>,
    pub(crate) parts: Vec<PartView>,
    pub(crate) part_count: usize,
    pub(crate) tenants: Vec<TenantView>,
    pub(crate) tenant_count: usize,
}

/// How a policy is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Idle,
    Ok,
    Queueing,
    Rejecting,
    Paused,
    Draining,
    Stopped,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct LimitView {
    pub(crate) limit: usize,
    pub(crate) in_flight: usize,
    pub(crate) queued: usize,
    pub(crate) streams: usize,
    pub(crate) overloaded: bool,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) adapts: bool,
    pub(crate) pinned: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Rates {
    pub(crate) admitted: f64,
    pub(crate) rejected: f64,
    pub(crate) would_reject: f64,
    pub(crate) exempt: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Totals {
    pub(crate) admitted: u64,
    pub(crate) rejected: u64,
    pub(crate) would_reject: u64,
    pub(crate) exempt: u64,
    pub(crate) cancelled: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReasonView {
    pub(crate) reason: &'static str,
    pub(crate) per_second: f64,
    pub(crate) total: u64,
}

/// Of the last [`WINDOW`] samples.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetriesView {
    pub(crate) first_per_second: f64,
    pub(crate) retried_per_second: f64,
    pub(crate) first: u64,
    pub(crate) retried: u64,
    pub(crate) budget: f64,
    pub(crate) budget_max: f64,
    pub(crate) gave_up: Vec<ReasonView>,
}

/// An origin or a compartment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartView {
    pub(crate) name: String,
    pub(crate) state: Option<&'static str>,
    pub(crate) left_s: f64,
    pub(crate) held: usize,
    pub(crate) rejected_share: f64,
    pub(crate) pressure: f64,
    pub(crate) limit: Option<LimitView>,
    pub(crate) why: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TenantView {
    pub(crate) name: String,
    pub(crate) per_second: f64,
    pub(crate) rejected_share: f64,
}

/// The last reports of one policy, oldest first: a rate needs two.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Report>);

/// Seconds over which times are shown: a p99 of one second jumps too much to be read.
const WINDOW: usize = 5;
/// Characters to which names are cut: they are anything that a program or its callers choose.
const NAME_LENGTH: usize = 120;

impl Recent {
    /// Adds a report, and shows the policy. `elapsed` is the time since the one before.
    pub(crate) fn push(&mut self, report: Report, elapsed: Duration) -> PolicyView {
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(report);
        let (now, oldest) = (&self.0[self.0.len() - 1], &self.0[0]);
        let before = self.0.get(self.0.len().wrapping_sub(2)).unwrap_or(now);
        show(now, before, oldest, elapsed.as_secs_f64().max(1e-3))
    }
}

impl PolicyView {
    /// The states of its origins, where they have any.
    pub(crate) fn states(&self) -> Vec<(String, &'static str)> {
        let state = |part: &PartView| Some((part.name.clone(), part.state?));
        self.parts.iter().filter_map(state).collect()
    }
}

impl Status {
    /// What to say of a change, if it is worth it.
    pub(crate) const fn change_to(self, now: Self) -> Option<&'static str> {
        match (self, now) {
            (Self::Paused, Self::Paused)
            | (Self::Draining, Self::Draining)
            | (Self::Stopped, Self::Stopped)
            | (Self::Rejecting, Self::Rejecting) => None,
            (_, Self::Paused) => Some("paused"),
            (_, Self::Draining) => Some("drains"),
            (_, Self::Stopped) => Some("stopped"),
            (Self::Paused | Self::Draining | Self::Stopped, _) => Some("admits requests again"),
            (_, Self::Rejecting) => Some("starts to reject requests"),
            (Self::Rejecting, _) => Some("rejects no more"),
            _ => None,
        }
    }
}

/// A name without control characters, and not too long.
pub(crate) fn shortened(name: &str) -> String {
    let is_short = name.chars().nth(NAME_LENGTH).is_none();
    if is_short && !name.contains(char::is_control) {
        return name.into();
    }
    let mut short: String = name
        .chars()
        .take(NAME_LENGTH)
        .map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter })
        .collect();
    if !is_short {
        short.push('…');
    }
    short
}
