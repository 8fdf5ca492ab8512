//! Builds the quota layers of a file, or changes the plans of those that run.

use backpressure_core::Quota;

use super::key::FileKey;
use super::{Build, CANARY};
use crate::policy::file::quota::{Key, QuotaSection};
use crate::policy::format::choice::Word;
use crate::policy::format::scalar::Texts;
use crate::policy::listing::is_equal;
use crate::server::{ByTenant, RateLimitFields};
use crate::{QuotaLayer, Tenant};

/// The plan that the quota itself is.
const DEFAULT: &str = "default";
/// Plans of one layer, those that files had before included. Beyond that a new layer takes over.
const MAX_PLANS: usize = 1_000;

impl Build<'_> {
    pub(super) fn quota(
        &self,
        name: &str,
        section: &QuotaSection,
        old: Option<(&QuotaSection, &QuotaLayer)>,
    ) -> QuotaLayer {
        if let Some((_, layer)) = old.filter(|(known, _)| is_equal(*known, section)) {
            return layer.clone();
        }
        let key = section.key.get().unwrap_or(Key::Tenant);
        // With another key, what was used counts for nothing.
        let same = old.filter(|(known, layer)| {
            known.key.get().unwrap_or(Key::Tenant) == key && layer.plan_count() < MAX_PLANS
        });
        let layer = match same {
            Some((known, layer)) if !self.scale.is_canary() => {
                let layer = with_key(layer, key, self);
                update_plans(layer, known, section)
            }
            Some((_, layer)) => with_key(layer, key, self),
            None => self.new_quota(name, key, section),
        };
        let layer = match section.max_keys.get() {
            // The table of a canary is that of the layer in force.
            Some(max_keys) if !(same.is_some() && self.scale.is_canary()) => {
                layer.max_keys(max_keys)
            }
            _ => layer,
        };
        let layer = self.hooks.quota(name, quota_options(layer, section));
        match same {
            Some(_) if self.scale.is_canary() => layer.with_plans_beside(CANARY, &plans(section)),
            _ => layer,
        }
    }

    fn new_quota(&self, name: &str, key: Key, section: &QuotaSection) -> QuotaLayer {
        let (label, quota) = (self.label(name), section.allowance.quota());
        let layer = match key {
            Key::Tenant => QuotaLayer::per(&label, ByTenant, quota),
            key => QuotaLayer::per(&label, FileKey::new(key, self.hooks), quota),
        };
        let others = plans(section).into_iter().skip(1);
        let layer = others.fold(layer, |layer, (name, quota)| layer.plan(name, quota));
        match self.hooks.shared_quota.as_ref().and_then(|store| store(name)) {
            Some(shared) => layer.shared(shared),
            None => layer,
        }
    }
}

fn with_key(layer: &QuotaLayer, key: Key, build: &Build<'_>) -> QuotaLayer {
    match key {
        Key::Tenant => layer.with_default_options(ByTenant),
        key => layer.with_default_options(FileKey::new(key, build.hooks)),
    }
}

/// All plans, that of the quota itself first.
fn plans(section: &QuotaSection) -> Vec<(&str, Quota)> {
    let others = section.plan.0.iter().map(|entry| (&*entry.name, entry.value.quota()));
    std::iter::once((DEFAULT, section.allowance.quota())).chain(others).collect()
}

/// Changes the plans of a layer that runs. One that is gone has the quota of the default plan.
fn update_plans(layer: QuotaLayer, old: &QuotaSection, new: &QuotaSection) -> QuotaLayer {
    let mut layer = layer;
    for (name, quota) in plans(new) {
        if layer.handle().plan(name).is_none() {
            layer = layer.plan(name, quota);
        } else if layer.handle().plan(name) != Some(quota) {
            layer.handle().set_plan(name, quota);
        }
    }
    for name in old.plan.names().filter(|name| new.plan.get(name).is_none()) {
        layer.handle().set_plan(name, new.allowance.quota());
    }
    layer
}

fn quota_options(layer: QuotaLayer, section: &QuotaSection) -> QuotaLayer {
    let mut layer = layer;
    if let Some(Word(unknown)) = section.unknown.get() {
        layer = layer.unknown(unknown);
    }
    if let Some(Word(priority)) = section.soft.get() {
        layer = layer.soft(priority);
    }
    if let Some(Texts(tenants)) = section.tenants.get() {
        let plans = tenants.into_iter().map(|(tenant, plan)| (Tenant::new(tenant), plan.into()));
        layer = layer.plans_of_tenants(plans.collect());
    }
    layer
        .fields(section.fields.get().map_or_else(RateLimitFields::default, |Word(fields)| fields))
        .expose_reservation(section.expose_reservation.get().unwrap_or(false))
        .dry_run(section.dry_run.get().unwrap_or(false))
}
