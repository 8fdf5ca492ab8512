//! The file: its sections, and what they have to be together.

use std::collections::BTreeSet;
use std::time::Duration;

use backpressure_core::QueueBounds;

use super::error::PolicyError;
use super::format::amounts::Share;
use super::format::reading::{Reading, check_name};
use super::format::scalar::Scalar;
use super::format::similar::suggestion;
use super::format::{Fields, Listed, Named, Section, Setting, Table};

pub(super) mod admission;
pub(super) mod bulkhead;
pub(super) mod client;
pub(super) mod path;
pub(super) mod quota;
pub(super) mod rule;

use self::admission::AdmissionSection;
use self::bulkhead::{BulkheadSection, SetSection};
use self::client::ClientSection;
use self::quota::QuotaSection;
use self::rule::{RuleSection, Stages};

/// The whole file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) admission: Named<AdmissionSection>,
    pub(super) bulkhead: Named<BulkheadSection>,
    pub(super) bulkhead_set: Named<SetSection>,
    pub(super) quota: Named<QuotaSection>,
    pub(super) client: Named<ClientSection>,
    pub(super) policy: Listed<RuleSection>,
    pub(super) default: Table<Stages>,
    pub(super) canary: Setting<Share>,
    pub(super) canary_for: Setting<Duration>,
    pub(super) canary_min_requests: Setting<u64>,
}

/// The length of a queue and the time in it.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueSection {
    max_len: Setting<usize>,
    max_wait: Setting<Duration>,
    in_order: Setting<bool>,
}

/// The most policies of a file: each request is compared with them in turn.
const MAX_POLICIES: usize = 1_000;
/// Requests in a queue that serves in order and is bounded by its length alone: all of them wait under overload.
const MAX_LEN_IN_ORDER: usize = 1_024;
/// A longer canary is a fleet with two policies.
const MAX_CANARY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// With fewer requests than these, chance alone makes the rates of two equal policies differ by much.
const MIN_CANARY_REQUESTS: u64 = 20;

impl Section for File {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "policy",
            "Which layers a request meets. The first policy that matches counts.",
            &mut self.policy,
        );
        to.field(
            "default",
            "The layers of a request that no policy matches. Default: none.",
            &mut self.default,
        );
        to.field(
            "admission",
            "A limit for all requests of its policies: `AdmissionLayer`.",
            &mut self.admission,
        );
        to.field(
            "bulkhead",
            "A constant limit, without a queue by default: `BulkheadLayer`.",
            &mut self.bulkhead,
        );
        to.field(
            "bulkhead_set",
            "Bulkheads that share a total: `BulkheadSet`.",
            &mut self.bulkhead_set,
        );
        to.field("quota", "What one tenant may use in a time: `QuotaLayer`.", &mut self.quota);
        to.field(
            "client",
            "The layers around an outbound client: `ClientStack`.",
            &mut self.client,
        );
        to.field("canary", "The share of tenants, or of requests without one, for which a reload of this file is in force at first. Default: it is in force for all at once.", &mut self.canary);
        to.field(
            "canary_for",
            "How long the canary runs before it is in force for all. Default: \"10min\".",
            &mut self.canary_for,
        );
        to.field(
            "canary_min_requests",
            "Requests of the canary before it is judged or promoted. Default: 100.",
            &mut self.canary_min_requests,
        );
    }
}

impl Section for QueueSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field("max_len", "Requests in the queue. Default: 1024 in order, otherwise 16384, of which as many as run within `max_wait`, or 1024.", &mut self.max_len);
        to.field("max_wait", "How long each of them waits. Default: \"1s\".", &mut self.max_wait);
        to.field("in_order", "Whether the queue serves in order and keeps its length under overload. Default: false.", &mut self.in_order);
    }
}

impl QueueSection {
    pub(super) fn bounds(&self) -> QueueBounds {
        let default = QueueBounds::default();
        let max_wait = self.max_wait.get().unwrap_or(default.max_wait);
        match self.in_order.get() {
            Some(true) => {
                let max_len = self.max_len.get().unwrap_or(MAX_LEN_IN_ORDER);
                QueueBounds::in_order(max_len, max_wait)
            }
            _ => QueueBounds::new(self.max_len.get().unwrap_or(default.max_len), max_wait),
        }
    }
}

impl File {
    /// # Errors
    /// All that is wrong with the text.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        // Editors of Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut file, mut reading) = Reading::read::<Self>(text);
        if reading.is_clean() {
            file.check(&mut reading);
        }
        reading.finish(name)?;
        Ok(file)
    }

    /// What the sections have to be, and what they have to be together.
    fn check(&mut self, reading: &mut Reading<'_>) {
        if self.policy.0.is_empty() && self.default.value.is_none() && self.client.0.is_empty() {
            let message = "the file has no [[policy]], no [default] and no [client.NAME]: it would do nothing";
            reading.problem(&(0..0), message);
        }
        for entry in &self.admission.0 {
            entry.value.check(&format!("admission.{}", entry.name), reading);
        }
        for entry in &self.bulkhead.0 {
            entry.value.check(&format!("bulkhead.{}", entry.name), reading);
        }
        for entry in &self.bulkhead_set.0 {
            entry.value.check(&format!("bulkhead_set.{}", entry.name), &entry.span, reading);
        }
        for entry in &self.quota.0 {
            entry.value.check(&format!("quota.{}", entry.name), &entry.span, reading);
        }
        for entry in &self.client.0 {
            entry.value.check(&format!("client.{}", entry.name), reading);
        }
        self.canary.check("canary", reading, |Share(share)| {
            let is_possible = share > 0.0 && share <= 0.5;
            is_possible
                .then_some(())
                .ok_or("a share above \"0%\" and up to \"50%\" is needed to compare")
        });
        self.canary_for.check("canary_for", reading, |time| {
            let is_possible = !time.is_zero() && time <= MAX_CANARY;
            is_possible.then_some(()).ok_or("it must be longer than zero, and a week at most")
        });
        self.canary_min_requests.check("canary_min_requests", reading, |requests| {
            let is_possible = requests >= MIN_CANARY_REQUESTS;
            is_possible.then_some(()).ok_or(format!("it must be at least {MIN_CANARY_REQUESTS}"))
        });
        self.check_rules(reading);
    }

    fn check_rules(&mut self, reading: &mut Reading<'_>) {
        let known = self.known();
        let mut rules = std::mem::take(&mut self.policy);
        if rules.0.len() > MAX_POLICIES {
            let span = &rules.0[MAX_POLICIES].span;
            reading.problem(span, format!("there are more than {MAX_POLICIES} policies"));
        }
        // Each is compared with those before it: more than may be are not looked at.
        for index in 0..rules.0.len().min(MAX_POLICIES) {
            let (before, rule) = rules.0.split_at_mut(index);
            let rule = &mut rule[0];
            rule.name = rule.value.name.get().unwrap_or_default();
            let path = format!("policy \"{}\"", rule.name);
            rule.value.check(before, reading);
            Self::check_stages(&path, &rule.value.stages, &known, reading);
        }
        self.policy = rules;
        if let Some(stages) = &self.default.value {
            Self::check_stages("default", stages, &known, reading);
        }
    }

    /// Whether all that a policy names exists.
    fn check_stages(path: &str, stages: &Stages, known: &Known, reading: &mut Reading<'_>) {
        for (setting, kind, known) in [
            (&stages.admission, "admission", &known.admissions),
            (&stages.bulkhead, "bulkhead", &known.bulkheads),
            (&stages.compartment, "compartment", &known.compartments),
        ] {
            if let Some(name) = &setting.value {
                check_reference(path, kind, name, known, setting, reading);
            }
        }
        for name in stages.quota_names() {
            check_reference(path, "quota", &name, &known.quotas, &stages.quota, reading);
        }
        stages.check(path, reading);
    }

    fn known(&self) -> Known {
        Known {
            admissions: self.admission.names().map(str::to_owned).collect(),
            bulkheads: self.bulkhead.names().map(str::to_owned).collect(),
            compartments: self.compartments().collect(),
            quotas: self.quota.names().map(str::to_owned).collect(),
        }
    }

    /// `set/compartment` of all sets.
    fn compartments(&self) -> impl Iterator<Item = String> {
        self.bulkhead_set.0.iter().flat_map(|set| {
            set.value.compartment.names().map(|name| format!("{}/{name}", set.name))
        })
    }
}

/// The names that a policy may refer to.
struct Known {
    admissions: BTreeSet<String>,
    bulkheads: BTreeSet<String>,
    compartments: BTreeSet<String>,
    quotas: BTreeSet<String>,
}

/// Names in a message; a reader looks through no more.
const MAX_NAMES_TOLD: usize = 32;

fn check_reference<T: Scalar>(
    path: &str,
    kind: &str,
    name: &str,
    known: &BTreeSet<String>,
    setting: &Setting<T>,
    reading: &mut Reading<'_>,
) {
    if known.contains(name) {
        return;
    }
    let meant = suggestion(name, known.iter().map(String::as_str));
    let told: Vec<_> = known.iter().take(MAX_NAMES_TOLD).map(String::as_str).collect();
    let more = if known.len() > MAX_NAMES_TOLD { ", …" } else { "" };
    let allowed = match &told[..] {
        [] => format!("the file has no {kind}"),
        told => format!("allowed: {}{more}", told.join(", ")),
    };
    let name = name.to_owned().show();
    reading.problem(&setting.span, format!("{path}: unknown {kind} {name}{meant} {allowed}"));
}

/// Whether a name can be that of a policy.
pub(super) fn check_policy_name(setting: &Setting<String>, reading: &mut Reading<'_>) {
    if let Some(Err(error)) = setting.value.as_deref().map(check_name) {
        reading.problem(&setting.span, format!("policy: {error}"));
    }
}
