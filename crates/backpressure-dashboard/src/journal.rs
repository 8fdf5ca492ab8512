//! What happened lately: rejections begin and end, limits change, breakers open, operators act.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use tokio::time::Instant;

use crate::view::{PolicyView, Status};

/// Entries that are kept: what fits a page, and bounded whatever happens.
const ENTRIES: usize = 50;
/// A limit that adapts changes by a little all the time; only a change by this factor is told.
const TOLD_CHANGE: f64 = 1.5;

/// The latest entries, newest first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    last: HashMap<u64, Last>,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    policy: String,
    text: String,
}

/// What was last told of a policy.
#[derive(Debug)]
struct Last {
    status: Status,
    limit: Option<usize>,
    states: Vec<(String, &'static str)>,
    dry_run: bool,
}

/// An entry on the page.
#[derive(Debug, Serialize)]
pub(crate) struct EntryView<'a> {
    age_s: u64,
    policy: &'a str,
    text: &'a str,
}

impl Journal {
    pub(crate) fn note(&mut self, at: Instant, policy: String, text: String) {
        self.entries.truncate(ENTRIES - 1);
        self.entries.push_front(Entry { at, policy, text });
    }

    /// Notes what has changed since the sample before.
    pub(crate) fn compare(&mut self, policies: &[PolicyView], now: Instant) {
        let mut before = std::mem::take(&mut self.last);
        for policy in policies {
            let last = before.remove(&policy.id);
            let told = match &last {
                None => Last::of(policy),
                Some(last) => self.compare_one(policy, last, now),
            };
            self.last.insert(policy.id, told);
        }
    }

    fn compare_one(&mut self, policy: &PolicyView, last: &Last, now: Instant) -> Last {
        let mut told = Last::of(policy);
        let mut note = |text: String| self.note(now, policy.name.clone(), text);
        if let Some(text) = last.status.change_to(policy.status) {
            note(text.to_owned());
        }
        if last.dry_run != policy.dry_run {
            note(format!("dry run {}", if policy.dry_run { "on" } else { "off" }));
        }
        match (last.limit, told.limit) {
            (Some(from), Some(to)) if is_told(from, to) => {
                note(format!("limit {from} → {to}"));
            }
            (Some(_), Some(_)) => told.limit = last.limit,
            _ => {}
        }
        for (name, state) in &told.states {
            let before = last.states.iter().find(|(known, _)| known == name);
            if before.is_some_and(|(_, before)| before != state) {
                note(format!("{name}: {state}"));
            }
        }
        told
    }

    pub(crate) fn view(&self, now: Instant) -> Vec<EntryView<'_>> {
        let age_s = |at: Instant| now.saturating_duration_since(at).as_secs();
        self.entries
            .iter()
            .map(|entry| EntryView {
                age_s: age_s(entry.at),
                policy: &entry.policy,
                text: &entry.text,
            })
            .collect()
    }
}

impl Last {
    fn of(policy: &PolicyView) -> Self {
        Self {
            status: policy.status,
            limit: policy.limit.as_ref().map(|limit| limit.limit),
            states: policy.states(),
            dry_run: policy.dry_run,
        }
    }
}

fn is_told(from: usize, to: usize) -> bool {
    let (low, high) = (from.min(to).max(1), from.max(to));
    high as f64 >= low as f64 * TOLD_CHANGE && high - low > 1
}
