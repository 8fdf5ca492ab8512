//! What one request would meet, and why.

use std::collections::BTreeMap;
use std::fmt;

use super::file::File;
use super::file::rule::Stages;
use super::format::{Section, list_section};

/// What a request would meet: see [`PolicySet::explain`](super::PolicySet::explain). Its `Display` is text for an
/// operator.
///
/// ```
/// use tower_backpressure::policy::PolicySet;
///
/// let policies = PolicySet::parse(r#"
///     [bulkhead.pay]
///     limit = 10
///     [[policy]]
///     name = "pay"
///     match = { path = "/pay", method = "POST" }
///     bulkhead = "pay"
/// "#)?;
/// let request = http::Request::get("/pay").body(()).expect("a request");
/// let explanation = policies.explain(&request);
/// assert_eq!(explanation.policy, None);
/// assert_eq!(explanation.passed, [("pay".to_owned(), "its method is GET, not POST".to_owned())]);
/// # Ok::<(), tower_backpressure::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The policy; `None`: none matches, and the default counts.
    pub policy: Option<String>,
    /// The policies before it, and why they are not for this request.
    pub passed: Vec<(String, String)>,
    /// The layers that the request meets, from the outside, with their settings.
    pub layers: Vec<(String, Vec<String>)>,
}

impl Explanation {
    pub(super) fn new(file: &File, policy: Option<&str>, passed: Vec<(String, String)>) -> Self {
        let stages = match policy {
            Some(name) => {
                let entry = file.policy.0.iter().find(|entry| entry.name == name);
                entry.map(|entry| &entry.value.stages)
            }
            None => file.default.value.as_ref(),
        };
        let layers = stages.map(|stages| layers(stages, file)).unwrap_or_default();
        Self { policy: policy.map(str::to_owned), passed, layers }
    }
}

fn layers(stages: &Stages, file: &File) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for name in stages.quota_names() {
        let section = file.quota.get(&name).map(|entry| settings(&entry.value));
        all.push((format!("quota.{name}"), section.unwrap_or_default()));
    }
    if let Some(name) = stages.admission.get() {
        let section = file.admission.get(&name).map(|entry| settings(&entry.value));
        all.push((format!("admission.{name}"), section.unwrap_or_default()));
    }
    if let Some(name) = stages.bulkhead.get() {
        let section = file.bulkhead.get(&name).map(|entry| settings(&entry.value));
        all.push((format!("bulkhead.{name}"), section.unwrap_or_default()));
    }
    if let Some(name) = stages.compartment.get() {
        let parts = name.split_once('/');
        let section = parts.and_then(|(set, compartment)| {
            let set = &file.bulkhead_set.get(set)?.value;
            Some(settings(&set.compartment.get(compartment)?.value))
        });
        all.push((format!("bulkhead_set.{name}"), section.unwrap_or_default()));
    }
    if stages.dry_run.get() == Some(true) {
        let dry = |(_, settings): &mut (String, Vec<String>)| {
            settings.retain(|setting| !setting.starts_with("dry_run "));
            settings.push("dry_run = true".to_owned());
        };
        all.iter_mut().for_each(dry);
    }
    all
}

fn settings<T: Section + Clone>(section: &T) -> Vec<String> {
    let mut all = BTreeMap::new();
    list_section(&mut section.clone(), "", &mut all);
    let values = all.into_iter().filter(|(_, value)| value != "{}");
    values.map(|(path, value)| format!("{path} = {value}")).collect()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.passed {
            writeln!(f, "policy {name}: no, {why}")?;
        }
        match &self.policy {
            Some(name) => writeln!(f, "policy {name}: yes")?,
            None => writeln!(f, "no policy matches: the default counts")?,
        }
        if self.layers.is_empty() {
            writeln!(f, "  no layer: it is served without a limit")?;
        }
        for (layer, settings) in &self.layers {
            let settings =
                if settings.is_empty() { "all defaults".to_owned() } else { settings.join(", ") };
            writeln!(f, "  {layer}: {settings}")?;
        }
        Ok(())
    }
}
