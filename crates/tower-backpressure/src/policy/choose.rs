//! Which policy a request meets: the first one whose conditions hold.

use std::sync::Arc;

use backpressure_core::Priority;
use http::{HeaderMap, Method, Request, Uri, header};

use super::build::{Layers, for_policy};
use super::file::File;
use super::file::path::{HostPattern, PathPattern};
use super::file::rule::{Conditions, MAX_QUOTAS, Stages};
use super::format::choice::{Choice, Word};
use super::format::scalar::Many;
use super::hooks::{Hooks, MatchedPath};
use crate::admission::Policy;
use crate::request_info::{RequestInfo, Tenant};
use crate::server::{CompartmentSelect, QuotaRules};

/// The policies of a file, in their order.
pub(super) struct Chooser {
    rules: Vec<Rule>,
    default: Chosen,
    matched_path: Option<Arc<MatchedPath>>,
}

/// One policy.
struct Rule {
    name: Box<str>,
    paths: Option<Vec<PathPattern>>,
    methods: Option<Vec<Method>>,
    hosts: Option<Vec<HostPattern>>,
    tenants: Option<Vec<(Tenant, Box<str>)>>,
    priorities: Option<Vec<Priority>>,
    chosen: Chosen,
}

/// The layers of one policy, from the outside.
#[derive(Clone, Default)]
pub(super) struct Chosen {
    pub(super) quotas: [Option<Arc<QuotaRules>>; MAX_QUOTAS],
    pub(super) admission: Option<Arc<Policy>>,
    pub(super) bulkhead: Option<Bulkhead>,
}

/// The innermost layer.
#[derive(Clone)]
pub(super) enum Bulkhead {
    One(Arc<Policy>),
    Keyed(Arc<CompartmentSelect>),
}

/// What conditions are about.
struct Facts<'a> {
    path: &'a str,
    matched: Option<&'a str>,
    method: &'a Method,
    host: Option<&'a str>,
    tenant: Option<Tenant>,
    priority: Priority,
}

impl Chooser {
    pub(super) fn new(file: &File, layers: &Layers, hooks: &Hooks) -> Self {
        let chosen = |stages: &Stages| Chosen::new(stages, layers);
        let rules = file.policy.0.iter().map(|entry| {
            let conditions = entry.value.matches.value.clone().unwrap_or_default();
            Rule::new(&entry.name, conditions, chosen(&entry.value.stages))
        });
        Self {
            rules: rules.collect(),
            default: file.default.value.as_ref().map(chosen).unwrap_or_default(),
            matched_path: hooks.matched_path.clone(),
        }
    }

    /// The layers of a request. It allocates nothing.
    pub(super) fn choose<B>(&self, request: &Request<B>) -> &Chosen {
        let facts = self.facts(request);
        let rule = self.rules.iter().find(|rule| rule.failing(&facts).is_none());
        rule.map_or(&self.default, |rule| &rule.chosen)
    }

    /// The name of the policy of a request, and why those before it are not for it.
    pub(super) fn explain<B>(&self, request: &Request<B>) -> (Option<&str>, Vec<(String, String)>) {
        let facts = self.facts(request);
        let mut passed = Vec::new();
        for rule in &self.rules {
            match rule.failing(&facts) {
                None => return (Some(&rule.name), passed),
                Some(condition) => {
                    passed.push((rule.name.to_string(), rule.why(condition, &facts)));
                }
            }
        }
        (None, passed)
    }

    fn facts<'a, B>(&self, request: &'a Request<B>) -> Facts<'a> {
        let info = RequestInfo::of(request.extensions());
        let matched = self.matched_path.as_ref().and_then(|rule| rule(request.extensions()));
        Facts {
            path: request.uri().path(),
            matched,
            method: request.method(),
            host: host_of(request.uri(), request.headers()),
            tenant: info.tenant,
            priority: info.priority,
        }
    }
}

/// A condition that does not hold.
#[derive(Clone, Copy)]
enum Condition {
    Path,
    Method,
    Host,
    Tenant,
    Priority,
}

fn holds<T>(values: &Option<Vec<T>>, holds: impl FnMut(&T) -> bool) -> bool {
    values.as_ref().is_none_or(|values| values.iter().any(holds))
}

impl Rule {
    fn new(name: &str, conditions: Conditions, chosen: Chosen) -> Self {
        let tenants = conditions.tenant.value.map(|Many(names)| {
            names.into_iter().map(|name| (Tenant::new(&*name), name.into())).collect()
        });
        let priorities = conditions.priority.value;
        Self {
            name: name.into(),
            paths: conditions.path.value.map(|Many(paths)| paths),
            methods: conditions.method.value.map(|Many(methods)| methods),
            hosts: conditions.host.value.map(|Many(hosts)| hosts),
            tenants,
            priorities: priorities
                .map(|Many(words)| words.into_iter().map(|Word(it)| it).collect()),
            chosen,
        }
    }

    /// The first condition that does not hold.
    fn failing(&self, facts: &Facts<'_>) -> Option<Condition> {
        let is_path = |pattern: &PathPattern| {
            facts.matched == Some(pattern.as_str()) || pattern.matches(facts.path)
        };
        let is_host = |pattern: &HostPattern| facts.host.is_some_and(|host| pattern.matches(host));
        let is_tenant = |(tenant, _): &(Tenant, Box<str>)| facts.tenant == Some(*tenant);
        if !holds(&self.methods, |method| method == facts.method) {
            Some(Condition::Method)
        } else if !holds(&self.paths, is_path) {
            Some(Condition::Path)
        } else if !holds(&self.hosts, is_host) {
            Some(Condition::Host)
        } else if !holds(&self.tenants, is_tenant) {
            Some(Condition::Tenant)
        } else if !holds(&self.priorities, |priority| *priority == facts.priority) {
            Some(Condition::Priority)
        } else {
            None
        }
    }

    fn why(&self, condition: Condition, facts: &Facts<'_>) -> String {
        let priority = |priority: &Priority| {
            let word = Priority::WORDS.iter().find(|(_, value)| value == priority);
            word.map_or("", |(word, _)| word).to_owned()
        };
        let (name, found, wanted) = match condition {
            Condition::Path => {
                let path = facts.matched.unwrap_or(facts.path).to_owned();
                ("path", path, shown(&self.paths, |path| path.as_str().to_owned()))
            }
            Condition::Method => {
                ("method", facts.method.to_string(), shown(&self.methods, Method::to_string))
            }
            Condition::Host => {
                let host = facts.host.unwrap_or("unknown").to_owned();
                ("host", host, shown(&self.hosts, |host| host.as_str().to_owned()))
            }
            Condition::Tenant => {
                let tenant = if facts.tenant.is_some() { "another one" } else { "unknown" };
                ("tenant", tenant.to_owned(), shown(&self.tenants, |(_, name)| name.to_string()))
            }
            Condition::Priority => {
                ("priority", priority(&facts.priority), shown(&self.priorities, priority))
            }
        };
        format!("its {name} is {found}, not {wanted}")
    }
}

fn shown<T>(values: &Option<Vec<T>>, show: impl Fn(&T) -> String) -> String {
    let values: Vec<_> = values.iter().flatten().map(show).collect();
    values.join(" or ")
}

impl Chosen {
    fn new(stages: &Stages, layers: &Layers) -> Self {
        let is_dry = stages.dry_run.get().unwrap_or(false);
        let mut quotas = [const { None }; MAX_QUOTAS];
        for (slot, name) in quotas.iter_mut().zip(stages.quota_names()) {
            *slot = layers.quota.get(&name).map(|layer| match is_dry {
                true => Arc::clone(layer.clone().dry_run(true).rules()),
                false => Arc::clone(layer.rules()),
            });
        }
        let policy = |layer| for_policy(layer, is_dry);
        let admission = stages.admission.get().and_then(|name| layers.admission.get(&name));
        let compartment = stages.compartment.get();
        let compartment = compartment.and_then(|name| layers.compartment.get(&name));
        let bulkhead = stages.bulkhead.get().and_then(|name| {
            let keyed = layers.keyed.get(&name).map(|keyed| &keyed[usize::from(is_dry)]);
            let keyed = keyed.map(|select| Bulkhead::Keyed(Arc::clone(select)));
            keyed.or_else(|| Some(Bulkhead::One(policy(layers.bulkhead.get(&name)?))))
        });
        Self {
            quotas,
            admission: admission.map(policy),
            bulkhead: bulkhead.or_else(|| compartment.map(|layer| Bulkhead::One(policy(layer)))),
        }
    }
}

/// The host of a request: of its target, or of its header.
pub(super) fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.host().or_else(|| headers.get(header::HOST)?.to_str().ok())
}

impl std::fmt::Debug for Chooser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.rules.iter().map(|rule| &rule.name).collect();
        f.debug_struct("Chooser").field("policies", &names).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chosen").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulkhead").finish_non_exhaustive()
    }
}
