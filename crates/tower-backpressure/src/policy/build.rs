//! Builds the layers that a file names, or changes those that run.

use std::collections::HashMap;
use std::sync::Arc;

use backpressure_core::{Adaptive, Fixed};
use http::StatusCode;

use super::file::File;
use super::file::admission::{AdmissionSection, Common};
use super::file::bulkhead::{BulkheadSection, SetSection};
use super::file::client::ClientLayers;
use super::format::choice::Word;
use super::hooks::Hooks;
use super::listing::is_equal;
use super::scale::Scale;
use crate::limiter::workers;
use crate::server::CompartmentSelect;
use crate::{AdmissionLayer, BulkheadLayer, BulkheadSet, Compartment, QuotaLayer};

pub(super) mod key;
mod quota;

use self::key::FileKey;

/// The layers of one file, by name. Policies share them.
#[derive(Clone, Default)]
pub(super) struct Layers {
    pub(super) admission: HashMap<String, AdmissionLayer>,
    pub(super) bulkhead: HashMap<String, AdmissionLayer>,
    /// The compartments of bulkheads by key: those that reject, and those of policies that are dry.
    pub(super) keyed: HashMap<String, [Arc<CompartmentSelect>; 2]>,
    sets: HashMap<String, BulkheadSet>,
    /// By `SET/COMPARTMENT`.
    pub(super) compartment: HashMap<String, AdmissionLayer>,
    pub(super) quota: HashMap<String, QuotaLayer>,
    pub(super) client: HashMap<String, ClientLayers>,
}

/// What layers are built from, and what they replace.
pub(super) struct Build<'a> {
    pub(super) new: &'a File,
    /// The file in force and its layers.
    pub(super) old: Option<(&'a File, &'a Layers)>,
    pub(super) hooks: &'a Hooks,
    /// For a canary: its layers stand beside those in force, and have a part of their size.
    pub(super) scale: Scale,
}

impl Build<'_> {
    pub(super) fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        for entry in &self.new.admission.0 {
            let old = self.old.and_then(|(file, layers)| {
                Some((&file.admission.get(&entry.name)?.value, layers.admission.get(&entry.name)?))
            });
            layers
                .admission
                .insert(entry.name.clone(), self.admission(&entry.name, &entry.value, old));
        }
        for entry in &self.new.bulkhead.0 {
            self.bulkhead_by_name(&entry.name, &entry.value, &mut layers);
        }
        for entry in &self.new.bulkhead_set.0 {
            self.set(&entry.name, &entry.value, &mut layers);
        }
        for entry in &self.new.quota.0 {
            let old = self.old.and_then(|(file, layers)| {
                Some((&file.quota.get(&entry.name)?.value, layers.quota.get(&entry.name)?))
            });
            layers.quota.insert(entry.name.clone(), self.quota(&entry.name, &entry.value, old));
        }
        for entry in &self.new.client.0 {
            let old = self.old.and_then(|(file, layers)| {
                Some((&file.client.get(&entry.name)?.value, layers.client.get(&entry.name)?))
            });
            let built = match old {
                Some((known, layers)) if is_equal(known, &entry.value) => layers.clone(),
                old => entry.value.layers(&entry.name, old),
            };
            layers.client.insert(entry.name.clone(), built);
        }
        layers
    }

    /// The name of a layer in metrics.
    fn label(&self, name: &str) -> String {
        if self.scale.is_canary() { format!("{name}{CANARY}") } else { name.to_owned() }
    }

    fn admission(
        &self,
        name: &str,
        section: &AdmissionSection,
        old: Option<(&AdmissionSection, &AdmissionLayer)>,
    ) -> AdmissionLayer {
        let old = match old {
            Some((known, layer)) if is_equal(known, section) => return layer.clone(),
            Some(_) if self.scale.is_canary() => None,
            old => old,
        };
        let (min, max) = section.bounds();
        let (min, max) = (self.scale.of_minimum(min), self.scale.of(max));
        let queue = self.scale.of_queue(section.bounds_of_queue());
        let layer = match old {
            Some((known, layer)) => {
                match section.fixed() {
                    fixed if fixed == known.fixed() => {}
                    Some(limit) => layer.limiter().replace_limit(Fixed::new(limit)),
                    None => layer.limiter().replace_limit(Adaptive::new(workers())),
                }
                layer.handle().set_max(max);
                layer.handle().set_min(min);
                layer.limiter().bound_queue(queue);
                layer.with_default_options()
            }
            None => {
                let label = self.label(name);
                let layer = match section.fixed() {
                    Some(limit) => AdmissionLayer::fixed(&label, self.scale.of(limit)),
                    None => AdmissionLayer::adaptive(&label),
                };
                let layer = layer.queue(queue).max(max).min(min);
                match section.initial.get() {
                    Some(initial) => layer.initial(self.scale.of(initial).clamp(min, max)),
                    None => layer,
                }
            }
        };
        for (priority, percent) in section.reserves() {
            layer.limiter().reserve_share(priority, percent);
        }
        let layer = self.common(layer, &section.common);
        self.hooks.admission(&format!("admission.{name}"), admission_options(layer, section))
    }

    fn bulkhead_by_name(&self, name: &str, section: &BulkheadSection, layers: &mut Layers) {
        let old = self.old.and_then(|(file, layers)| {
            Some((&file.bulkhead.get(name)?.value, layers.bulkhead.get(name)?, layers))
        });
        let layer = self.bulkhead(name, section, old.map(|(known, layer, _)| (known, layer)));
        if let Some(key) = section.per.get() {
            let same = old.filter(|(known, ..)| is_equal(*known, section));
            let known = same.and_then(|(.., layers)| layers.keyed.get(name).cloned());
            let keyed = known.unwrap_or_else(|| {
                let is_dry = section.common.dry_run.get().unwrap_or(false);
                [is_dry, true].map(|is_dry| {
                    let key = FileKey::new(key.clone(), self.hooks);
                    let limit = section.limit.get().unwrap_or(1);
                    let layer = layer.clone().dry_run(is_dry);
                    let layer = layer.per(limit, section.bounds_of_queue(), key);
                    Arc::clone(layer.select())
                })
            });
            layers.keyed.insert(name.to_owned(), keyed);
        }
        layers.bulkhead.insert(name.to_owned(), layer);
    }

    fn bulkhead(
        &self,
        name: &str,
        section: &BulkheadSection,
        old: Option<(&BulkheadSection, &AdmissionLayer)>,
    ) -> AdmissionLayer {
        let old = match old {
            Some((known, layer)) if is_equal(known, section) => return layer.clone(),
            Some(_) if self.scale.is_canary() => None,
            old => old.map(|(_, layer)| layer),
        };
        let limit = self.scale.of(section.limit.get().unwrap_or(1));
        let layer = match old {
            Some(layer) => {
                layer.limiter().replace_limit(Fixed::new(limit));
                layer.with_default_options()
            }
            None => BulkheadLayer::new(&self.label(name), limit).into(),
        };
        layer.limiter().bound_queue(self.scale.of_queue(section.bounds_of_queue()));
        let layer = self.common(layer, &section.common);
        self.hooks.admission(&format!("bulkhead.{name}"), layer)
    }

    /// Guarantees of a set that runs are fixed: where they change, a new set takes over, and the old one drains.
    fn set(&self, name: &str, section: &SetSection, layers: &mut Layers) {
        let old = self.old.and_then(|(file, layers)| {
            Some((&file.bulkhead_set.get(name)?.value, layers.sets.get(name)?))
        });
        let kept = old.filter(|(known, _)| match self.scale.is_canary() {
            true => is_equal(*known, section),
            false => has_same_guarantees(known, section),
        });
        let set = match kept {
            Some((_, set)) => set.clone(),
            None => self.new_set(name, section),
        };
        if let Some(total) = section.total().filter(|_| !self.scale.is_canary()) {
            set.set_total(total);
        }
        for entry in &section.compartment.0 {
            let path = format!("{name}/{}", entry.name);
            let known = self.old.and_then(|(_, layers)| layers.compartment.get(&path));
            let layer = match known.filter(|_| kept.is_some()) {
                Some(layer) if self.scale.is_canary() => layer.clone(),
                Some(layer) => {
                    layer.handle().set_max(entry.value.max());
                    layer.limiter().bound_queue(entry.value.bounds_of_queue());
                    self.common(layer.with_default_options(), &entry.value.common)
                }
                None => self.common(set.layer(&self.label(&path)), &entry.value.common),
            };
            let layer = self.hooks.admission(&format!("bulkhead_set.{path}"), layer);
            layers.compartment.insert(path, layer);
        }
        layers.sets.insert(name.to_owned(), set);
    }

    fn new_set(&self, name: &str, section: &SetSection) -> BulkheadSet {
        let compartments: Vec<(String, Compartment)> = section
            .compartment
            .0
            .iter()
            .map(|entry| {
                let compartment =
                    entry.value.compartment().scaled(|permits| self.scale.of(permits));
                (self.label(&format!("{name}/{}", entry.name)), compartment)
            })
            .collect();
        let guaranteed: usize = compartments.iter().map(|(_, it)| it.guaranteed_permits()).sum();
        let set = match section.total() {
            Some(total) => BulkheadSet::total(self.scale.of(total).max(guaranteed)),
            None => BulkheadSet::adaptive(),
        };
        compartments.into_iter().fold(set, |set, (name, it)| set.compartment(&name, it))
    }

    fn common(&self, layer: AdmissionLayer, common: &Common) -> AdmissionLayer {
        let mut layer = layer;
        if let Some(Word(scope)) = common.scope.get() {
            layer = layer.scope(scope);
        }
        if let Some(streams) = common.streams.get() {
            layer = layer.streams(self.scale.of_streams(streams.into()));
        }
        layer
            .expose_permit(common.expose_permit.get().unwrap_or(false))
            .dry_run(common.dry_run.get().unwrap_or(false))
    }
}

/// Follows the names of a canary's layers.
pub(super) const CANARY: &str = "@canary";

fn admission_options(layer: AdmissionLayer, section: &AdmissionSection) -> AdmissionLayer {
    let mut layer = layer;
    if let Some(status) = section.status.get().and_then(|code| StatusCode::from_u16(code).ok()) {
        layer = layer.status(status);
    }
    if let Some(max) = section.delay_rejections.get() {
        layer = layer.delay_rejections(max);
    }
    layer
        .reveal_reason(section.reveal_reason.get().unwrap_or(true))
        .expose_pressure(section.expose_pressure.get().unwrap_or(false))
}

fn has_same_guarantees(one: &SetSection, other: &SetSection) -> bool {
    let guarantees = |section: &SetSection| -> Vec<_> {
        let compartments = section.compartment.0.iter();
        compartments.map(|entry| (entry.name.clone(), entry.value.guarantee_and_lend())).collect()
    };
    let most: usize =
        other.compartment.0.iter().filter_map(|it| it.value.guarantee_and_lend().0).sum();
    let fits = other.total().is_none_or(|total| total >= most);
    one.total().is_some() == other.total().is_some() && guarantees(one) == guarantees(other) && fits
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

/// A shared layer, dry or not.
pub(super) fn for_policy(layer: &AdmissionLayer, dry_run: bool) -> Arc<crate::admission::Policy> {
    match dry_run {
        true => Arc::clone(layer.clone().dry_run(true).policy()),
        false => Arc::clone(layer.policy()),
    }
}
