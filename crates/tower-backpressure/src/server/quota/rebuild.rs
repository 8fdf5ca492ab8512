//! A quota layer with other options and the same state: for a policy file that changes while requests run.

use std::collections::HashMap;
use std::sync::Arc;

use backpressure_core::Quota;

use super::QuotaLayer;
use super::key::ExtractKey;
use super::rules::{DEFAULT_PLAN, Rules, UnknownTenant};
use crate::headers::rate_limit_fields::RateLimitFields;
use crate::request_info::Tenant;

impl QuotaLayer {
    /// The same layer with the options of a new one, and this key. What was used stays used.
    pub(crate) fn with_default_options<K: ExtractKey>(&self, key: K) -> Self {
        let mut rules = Rules::clone(&self.rules);
        rules.set_key(key);
        rules.plans = self.plan_names();
        rules.unknown = UnknownTenant::default();
        rules.fields = RateLimitFields::default();
        (rules.cost, rules.plan_of, rules.settle, rules.soft) = (None, None, None, None);
        (rules.tenants, rules.exposes_reservation) = (None, false);
        rules.rejection = Rules::rejection();
        rules.telemetry.observer = None;
        rules.telemetry.dry_run = false;
        rules.switches = rules.switches.with_default_options();
        Self { rules: Arc::new(rules), handle: self.handle.clone() }
    }

    /// All plans of the table, those that another layer value has added included.
    fn plan_names(&self) -> Vec<Box<str>> {
        let table = &self.rules.books.table;
        (0..).map_while(|position| table.plan(position)).map(|plan| plan.name.clone()).collect()
    }

    pub(crate) fn plan_count(&self) -> usize {
        self.plan_names().len()
    }

    /// Adds plans that stand beside those of the same name, and selects them in place of those.
    pub(crate) fn with_plans_beside(mut self, suffix: &str, plans: &[(&str, Quota)]) -> Self {
        for (name, quota) in plans {
            let beside = format!("{name}{suffix}");
            if !self.handle.set_plan(&beside, *quota) {
                self = self.plan(&beside, *quota);
            }
            let rules = self.edit();
            for known in &mut rules.plans {
                if **known == **name {
                    *known = format!("{name} (in force)").into();
                } else if **known == *beside {
                    *known = (*name).into();
                }
            }
        }
        let rules = self.edit();
        if rules.tenants.is_none() {
            rules.plan_of.get_or_insert_with(|| Arc::new(|_| DEFAULT_PLAN));
        }
        self
    }

    /// The plans of single tenants; the others have the default one.
    pub(crate) fn plans_of_tenants(mut self, plans: HashMap<Tenant, Box<str>>) -> Self {
        self.edit().tenants = Some(Arc::new(plans));
        self
    }

    pub(crate) const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }
}
