//! `[bulkhead.NAME]` and `[bulkhead_set.NAME]`: constant limits, alone or with a common total.

use backpressure_core::limit::MAX;
use backpressure_core::{OutOfRange, QueueBounds};

use super::QueueSection;
use super::admission::{Adapts, Common, check_percent};
use super::quota::Key;
use crate::Compartment;
use crate::policy::format::amounts::Share;
use crate::policy::format::choice::WordOr;
use crate::policy::format::reading::Reading;
use crate::policy::format::{Fields, Named, Section, Setting, Span, Table};

#[derive(Clone, Debug)]
pub(in crate::policy) struct BulkheadSection {
    pub(in crate::policy) limit: Setting<usize>,
    pub(in crate::policy) per: Setting<Key>,
    queue: Table<QueueSection>,
    pub(in crate::policy) common: Common,
}

#[derive(Clone, Debug)]
pub(in crate::policy) struct SetSection {
    pub(in crate::policy) total: Setting<WordOr<Adapts, usize>>,
    pub(in crate::policy) compartment: Named<CompartmentSection>,
}

#[derive(Clone, Debug)]
pub(in crate::policy) struct CompartmentSection {
    guaranteed: Setting<usize>,
    max: Setting<usize>,
    lend: Setting<Share>,
    queue: Table<QueueSection>,
    pub(in crate::policy) common: Common,
}

impl Default for BulkheadSection {
    fn default() -> Self {
        let (per, queue, common) = Default::default();
        Self { limit: Setting::required(), per, queue, common }
    }
}

impl Default for SetSection {
    fn default() -> Self {
        Self { total: Setting::required(), compartment: Named::default() }
    }
}

impl Default for CompartmentSection {
    fn default() -> Self {
        let (max, lend, queue, common) = Default::default();
        Self { guaranteed: Setting::required(), max, lend, queue, common }
    }
}

impl Section for BulkheadSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field("limit", "Requests at once, or at once for each key.", &mut self.limit);
        to.field(
            "per",
            "What has a limit of its own. Default: all requests share one.",
            &mut self.per,
        );
        to.field("queue", "The queue. Default: none.", &mut self.queue);
        self.common.fields(to);
    }
}

impl Section for SetSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "total",
            "Requests at once in all compartments: a number, or \"adaptive\" to measure it.",
            &mut self.total,
        );
        to.field(
            "compartment",
            "A bulkhead of the set; a policy names it as \"SET/COMPARTMENT\".",
            &mut self.compartment,
        );
    }
}

impl Section for CompartmentSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "guaranteed",
            "Requests at once that it may have in any case.",
            &mut self.guaranteed,
        );
        to.field(
            "max",
            "Requests at once with those that it borrows. Default: the total.",
            &mut self.max,
        );
        to.field(
            "lend",
            "How much of an idle guarantee others may borrow. Default: \"50%\".",
            &mut self.lend,
        );
        to.field("queue", "The queue. Default: 16384 requests, \"1s\", of which as many as run in that time, or 1024.", &mut self.queue);
        self.common.fields(to);
    }
}

impl BulkheadSection {
    pub(super) fn check(&self, path: &str, reading: &mut Reading<'_>) {
        self.limit.check(path, reading, |limit| OutOfRange::check("limit", limit, 1, MAX));
        self.per.check(path, reading, |key| key.check());
    }

    pub(in crate::policy) fn bounds_of_queue(&self) -> QueueBounds {
        self.queue.value.as_ref().map_or(QueueBounds::NONE, QueueSection::bounds)
    }
}

impl SetSection {
    pub(super) fn check(&self, path: &str, span: &Span, reading: &mut Reading<'_>) {
        self.total.check(path, reading, |total| match total {
            WordOr::Number(total) => OutOfRange::check("total", total, 1, MAX),
            WordOr::Word(Adapts) => Ok(()),
        });
        if self.compartment.0.is_empty() {
            reading.problem(span, format!("{path} has no compartment"));
        }
        let mut guaranteed = 0_usize;
        for entry in &self.compartment.0 {
            let path = format!("{path}.compartment.{}", entry.name);
            let section = &entry.value;
            section.lend.check(&path, reading, |share| check_percent("lend", share, 100));
            if let Err(error) = section.compartment().check() {
                let span = if error.option == "max" {
                    &section.max.span
                } else {
                    &section.guaranteed.span
                };
                reading.problem(span, format!("{path}: {error}"));
            }
            guaranteed = guaranteed.saturating_add(section.guaranteed.get().unwrap_or(0));
        }
        let most = self.total().unwrap_or(MAX);
        if guaranteed > most {
            let message = format!(
                "{path}: guarantees must be no more than the total of {most} together, found {guaranteed}"
            );
            reading.problem(&self.total.span, message);
        }
    }

    /// `None`: it adapts.
    pub(in crate::policy) fn total(&self) -> Option<usize> {
        match self.total.get()? {
            WordOr::Number(total) => Some(total),
            WordOr::Word(Adapts) => None,
        }
    }
}

impl CompartmentSection {
    pub(in crate::policy) fn compartment(&self) -> Compartment {
        let mut compartment = Compartment::guaranteed(self.guaranteed.get().unwrap_or(0));
        if let Some(max) = self.max.get() {
            compartment = compartment.max(max);
        }
        if let Some(percent) = self.lend.get().and_then(Share::whole_percent) {
            compartment = compartment.lend(percent);
        }
        compartment.queue(self.bounds_of_queue())
    }

    pub(in crate::policy) fn guarantee_and_lend(&self) -> (Option<usize>, Option<Share>) {
        (self.guaranteed.get(), self.lend.get())
    }

    pub(in crate::policy) fn max(&self) -> usize {
        self.max.get().unwrap_or(MAX)
    }

    pub(in crate::policy) fn bounds_of_queue(&self) -> QueueBounds {
        self.queue.value.as_ref().map(QueueSection::bounds).unwrap_or_default()
    }
}
