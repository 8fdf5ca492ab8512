//! What a program adds to the layers of a file: closures, which no file can hold.

use std::fmt;
use std::sync::Arc;

use http::Extensions;

use super::event::PolicyEvent;
use crate::server::SharedQuota;
use crate::{AdmissionLayer, QuotaLayer};

/// What a program adds to a file.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) admission: Option<Arc<AdmissionHook>>,
    pub(super) quota: Option<Arc<QuotaHook>>,
    pub(super) shared_quota: Option<Arc<SharedQuotaHook>>,
    pub(super) matched_path: Option<Arc<MatchedPath>>,
    pub(super) audit: Option<Arc<Audit>>,
}

pub(super) type AdmissionHook = dyn Fn(&str, AdmissionLayer) -> AdmissionLayer + Send + Sync;
pub(super) type QuotaHook = dyn Fn(&str, QuotaLayer) -> QuotaLayer + Send + Sync;
pub(super) type SharedQuotaHook = dyn Fn(&str) -> Option<SharedQuota> + Send + Sync;
pub(super) type MatchedPath = dyn Fn(&Extensions) -> Option<&str> + Send + Sync;
pub(super) type Audit = dyn Fn(&PolicyEvent) + Send + Sync;

impl Hooks {
    pub(super) fn admission(&self, path: &str, layer: AdmissionLayer) -> AdmissionLayer {
        match &self.admission {
            Some(hook) => hook(path, layer),
            None => layer,
        }
    }

    pub(super) fn quota(&self, name: &str, layer: QuotaLayer) -> QuotaLayer {
        match &self.quota {
            Some(hook) => hook(name, layer),
            None => layer,
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
