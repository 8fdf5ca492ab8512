//! What is in force at one moment: a file, and perhaps a canary beside it.

use std::sync::Arc;

use http::Request;

use super::canary::{Canary, Part};
use super::choose::Chooser;
use super::version::Version;

/// What is in force.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) stable: Arc<Version>,
    pub(super) canary: Option<Arc<Canary>>,
}

impl Snapshot {
    /// The policies for a request, and its part in the comparison while a canary runs.
    pub(super) fn version_for<B>(&self, request: &Request<B>) -> (&Chooser, Option<Part>) {
        let Some(canary) = &self.canary else { return (&self.stable.chooser, None) };
        let part = Part::of(canary, request.extensions());
        let version = if part.meets_canary() { &canary.version } else { &self.stable };
        (&version.chooser, Some(part))
    }

    /// The same without its canary.
    pub(super) fn without_canary(&self) -> Arc<Self> {
        Arc::new(Self { stable: Arc::clone(&self.stable), canary: None })
    }
}
