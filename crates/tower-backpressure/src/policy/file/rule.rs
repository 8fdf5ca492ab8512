//! `[[policy]]`: which requests it is for, and the layers that they meet.

use backpressure_core::Priority;
use http::Method;
use toml::de::DeValue;

use super::check_policy_name;
use super::path::{HostPattern, PathPattern};
use crate::policy::format::choice::Word;
use crate::policy::format::json::Json;
use crate::policy::format::reading::Reading;
use crate::policy::format::scalar::{Many, Scalar};
use crate::policy::format::{Entry, Fields, Section, Setting, Table};

#[derive(Clone, Debug)]
pub(in crate::policy) struct RuleSection {
    pub(in crate::policy) name: Setting<String>,
    pub(in crate::policy) matches: Table<Conditions>,
    pub(in crate::policy) stages: Stages,
}

/// What a request has to be. Each condition that is named has to hold, for one of its values.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Conditions {
    pub(in crate::policy) path: Setting<Many<PathPattern>>,
    pub(in crate::policy) method: Setting<Many<Method>>,
    pub(in crate::policy) host: Setting<Many<HostPattern>>,
    pub(in crate::policy) tenant: Setting<Many<String>>,
    pub(in crate::policy) priority: Setting<Many<Word<Priority>>>,
}

/// The layers of a policy, by name.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Stages {
    pub(in crate::policy) quota: Setting<Many<String>>,
    pub(in crate::policy) admission: Setting<String>,
    pub(in crate::policy) bulkhead: Setting<String>,
    pub(in crate::policy) compartment: Setting<String>,
    pub(in crate::policy) dry_run: Setting<bool>,
}

/// Quotas of one policy: a hard one and a soft one, or one of the tenant and one of all.
pub(in crate::policy) const MAX_QUOTAS: usize = 2;

impl Default for RuleSection {
    fn default() -> Self {
        let (matches, stages) = Default::default();
        Self { name: Setting::required(), matches, stages }
    }
}

impl Section for RuleSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field("name", "Its name, which metrics and audit events have.", &mut self.name);
        to.field("match", "The requests that it is for. Default: all.", &mut self.matches);
        self.stages.fields(to);
    }
}

impl Section for Conditions {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "path",
            "The path, or the matched route of the router. Default: any.",
            &mut self.path,
        );
        to.field("method", "The method. Default: any.", &mut self.method);
        to.field("host", "The host, without case and port. Default: any.", &mut self.host);
        to.field(
            "tenant",
            "The tenant, as `Tenant::new(\"NAME\")` has it. Default: any, or none.",
            &mut self.tenant,
        );
        to.field("priority", "The priority. Default: any.", &mut self.priority);
    }
}

impl Section for Stages {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field("quota", "A quota, or two: the outer one first. Default: none.", &mut self.quota);
        to.field(
            "admission",
            "The admission inside the quotas. Default: none.",
            &mut self.admission,
        );
        to.field(
            "bulkhead",
            "The bulkhead inside the admission. Default: none.",
            &mut self.bulkhead,
        );
        to.field(
            "compartment",
            "In place of a bulkhead, a compartment of a set: \"SET/COMPARTMENT\". Default: none.",
            &mut self.compartment,
        );
        to.field("dry_run", "Whether all layers of this policy decide and count, and run every request. Default: false.", &mut self.dry_run);
    }
}

impl Stages {
    pub(super) fn check(&self, path: &str, reading: &mut Reading<'_>) {
        if self.bulkhead.value.is_some() && self.compartment.value.is_some() {
            let message = format!("{path}: a compartment stands in place of a bulkhead");
            reading.problem(&self.compartment.span, message);
        }
        let quotas = self.quota_names();
        if quotas.len() > MAX_QUOTAS {
            let message = format!("{path}: at most {MAX_QUOTAS} quotas, found {}", quotas.len());
            reading.problem(&self.quota.span, message);
        }
        if quotas.len() == MAX_QUOTAS && quotas.first() == quotas.last() {
            let message = format!("{path}: one quota twice would take two tokens a request");
            reading.problem(&self.quota.span, message);
        }
    }

    pub(in crate::policy) fn quota_names(&self) -> Vec<String> {
        self.quota.get().map(|Many(names)| names).unwrap_or_default()
    }
}

impl RuleSection {
    /// Whether its name is new, and requests reach it past the policies before.
    pub(super) fn check(&self, before: &[Entry<Self>], reading: &mut Reading<'_>) {
        check_policy_name(&self.name, reading);
        let name = self.name.get().unwrap_or_default();
        if name == "default" {
            reading
                .problem(&self.name.span, "policy: \"default\" is the name of the table [default]");
        }
        if before.iter().any(|other| other.name == name) {
            let message = format!("policy: the name {} is used twice", name.show());
            return reading.problem(&self.name.span, message);
        }
        let all = Conditions::default();
        let ours = self.matches.value.as_ref().unwrap_or(&all);
        let covers =
            |other: &&Entry<Self>| other.value.matches.value.as_ref().unwrap_or(&all).cover(ours);
        if let Some(other) = before.iter().find(covers) {
            let (name, other) = (name.show(), other.name.show());
            let message = format!(
                "policy {name}: no request reaches it, since policy {other} before it matches all of them"
            );
            reading.problem(&self.name.span, message);
        }
    }
}

impl Conditions {
    /// Whether every request for which the other conditions hold meets these.
    fn cover(&self, other: &Self) -> bool {
        covered(&self.path, &other.path, PathPattern::covers)
            && covered(&self.method, &other.method, Method::eq)
            && covered(&self.host, &other.host, HostPattern::covers)
            && covered(&self.tenant, &other.tenant, String::eq)
            && covered(&self.priority, &other.priority, Word::eq)
    }
}

fn covered<T: Scalar>(
    ours: &Setting<Many<T>>,
    theirs: &Setting<Many<T>>,
    covers: impl Fn(&T, &T) -> bool,
) -> bool {
    match (&ours.value, &theirs.value) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(Many(ours)), Some(Many(theirs))) => {
            theirs.iter().all(|their| ours.iter().any(|our| covers(our, their)))
        }
    }
}

impl Scalar for Method {
    fn expected() -> String {
        "a method in capital letters, such as \"GET\"".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        let is_capital = !text.contains(|c: char| c.is_ascii_lowercase());
        Self::from_bytes(text.as_bytes()).ok().filter(|_| is_capital)
    }

    fn schema() -> Json {
        Json::object([("type", Json::text("string")), ("pattern", Json::text("^[^a-z]+$"))])
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}
