//! Loads a file together with what no file can hold.

use std::path::PathBuf;
use std::sync::Arc;

use http::Extensions;

use super::error::PolicyError;
use super::event::PolicyEvent;
use super::hooks::Hooks;
use super::set::PolicySet;
use super::source;
use crate::server::SharedQuota;
use crate::{AdmissionLayer, QuotaLayer};

/// Loads policies together with what no file can hold: closures, types of bodies, a store of quotas.
///
/// ```
/// use axum::extract::MatchedPath;
/// use tower_backpressure::policy::PolicyLoader;
///
/// let policies = PolicyLoader::new()
///     .matched_path(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str))
///     .admission(|_, layer| layer.request_body::<axum::body::Body>())
///     .audit(|event| println!("{event}"))
///     .parse("[bulkhead.pay]\nlimit = 10\n[default]\nbulkhead = \"pay\"\n")?;
/// # let _ = policies;
/// # Ok::<(), tower_backpressure::policy::PolicyError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PolicyLoader {
    hooks: Hooks,
}

impl PolicyLoader {
    /// Adds nothing to a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds options to each limit of a file, at each reload: `on_reject`, `exempt`, `classify`, the type of bodies. The
    /// rule gets the path of the layer, as `admission.api`, `bulkhead.pay` or `bulkhead_set.back/search`.
    #[must_use]
    pub fn admission(
        mut self,
        rule: impl Fn(&str, AdmissionLayer) -> AdmissionLayer + Send + Sync + 'static,
    ) -> Self {
        self.hooks.admission = Some(Arc::new(rule));
        self
    }

    /// Adds options to each quota of a file, at each reload: the cost of a request, a rule for plans. The rule
    /// gets the name of the quota.
    #[must_use]
    pub fn quota(
        mut self,
        rule: impl Fn(&str, QuotaLayer) -> QuotaLayer + Send + Sync + 'static,
    ) -> Self {
        self.hooks.quota = Some(Arc::new(rule));
        self
    }

    /// The store of a quota that replicas share, by the name of the quota; `None`: each replica counts for itself. It
    /// is asked when a quota is new.
    #[must_use]
    pub fn shared_quota(
        mut self,
        rule: impl Fn(&str) -> Option<SharedQuota> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.shared_quota = Some(Arc::new(rule));
        self
    }

    /// Tells the matched route of a request from its extensions, so that a `path` of the file may be the pattern of a
    /// route. Without it, and where a router has put none there, the path itself is compared.
    #[must_use]
    pub fn matched_path(
        mut self,
        rule: impl Fn(&Extensions) -> Option<&str> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.matched_path = Some(Arc::new(rule));
        self
    }

    /// Tells of each change, refused file and decision on a canary. For a canary it is called by a request: it has
    /// to be quick.
    #[must_use]
    pub fn audit(mut self, rule: impl Fn(&PolicyEvent) + Send + Sync + 'static) -> Self {
        self.hooks.audit = Some(Arc::new(rule));
        self
    }

    /// The policies of a file.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong, or when the file cannot be read.
    pub fn load(self, path: impl Into<PathBuf>) -> Result<PolicySet, PolicyError> {
        let path = path.into();
        let text = source::read(Some(&path))?;
        PolicySet::start(self.hooks, Some(path), &text)
    }

    /// The policies of a text.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong.
    pub fn parse(self, text: &str) -> Result<PolicySet, PolicyError> {
        PolicySet::start(self.hooks, None, text)
    }
}

impl PolicySet {
    /// The policies of a file, which [`reload`](Self::reload) and [`watch`](Self::watch) read again.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong, or when the file cannot be read.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        PolicyLoader::new().load(path)
    }

    /// The policies of a text.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        PolicyLoader::new().parse(text)
    }
}
