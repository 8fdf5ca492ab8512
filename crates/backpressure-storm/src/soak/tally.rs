//! What became of the requests, and what a rejection has to say.

use crate::answer::AnswerKind;
use http::{HeaderMap, StatusCode};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by kind of client. Clones share one.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    by_client: BTreeMap<&'static str, [u64; 5]>,
    faults: Vec<String>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Served,
    Rejected,
    /// The client left.
    Left,
    /// A 4xx: the request was malformed.
    Refused,
    /// The connection ended without a response.
    Broken,
}

/// Faults that are kept in words; any more are only counted.
const MAX_FAULTS: usize = 8;

impl Tally {
    /// Counts the end of a request.
    pub(super) fn count(&self, client: &'static str, end: End) {
        let mut counts = self.lock();
        counts.by_client.entry(client).or_default()[end as usize] += 1;
    }

    /// Counts a response. A rejection has to have a reason and a time to come back.
    pub(super) fn responded(&self, client: &'static str, status: StatusCode, headers: &HeaderMap) {
        let end = match AnswerKind::of(status, headers) {
            AnswerKind::Refused => End::Rejected,
            AnswerKind::Good => End::Served,
            AnswerKind::Useless if status.is_client_error() => End::Refused,
            AnswerKind::Useless => End::Broken,
        };
        self.count(client, end);
        let seconds =
            headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let has_time = seconds.is_some_and(|seconds: u64| seconds >= 1);
        if end == End::Rejected && !(has_time && headers.contains_key("x-shed-reason")) {
            self.fault(format!("{client}: a rejection without reason or time: {headers:?}"));
        }
        if status.as_u16() >= 500 && end != End::Rejected {
            self.fault(format!("{client}: {status}"));
        }
    }

    fn fault(&self, fault: String) {
        let mut counts = self.lock();
        if counts.faults.len() < MAX_FAULTS {
            counts.faults.push(fault);
        }
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    pub(super) fn served(&self) -> u64 {
        self.sum(End::Served)
    }

    pub(super) fn rejected(&self) -> u64 {
        self.sum(End::Rejected)
    }

    fn sum(&self, end: End) -> u64 {
        self.lock().by_client.values().map(|ends| ends[end as usize]).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| clients | served | rejected | client left | 4xx | no response |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (client, [served, rejected, left, refused, broken]) in &self.lock().by_client {
            writeln!(f, "| {client} | {served} | {rejected} | {left} | {refused} | {broken} |")?;
        }
        Ok(())
    }
}
