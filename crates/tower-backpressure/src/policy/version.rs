//! One file and its layers, and what is in force of two of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;

use super::build::{Build, Layers};
use super::canary::{Canary, CanaryOptions, Sample};
use super::choose::Chooser;
use super::file::File;
use super::format::amounts::Share;
use super::hooks::Hooks;
use super::scale::Scale;
use super::set::PolicySet;

/// What is in force.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) stable: Arc<Version>,
    pub(super) canary: Option<Arc<Canary>>,
}

/// One file and its layers.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) file: File,
    pub(super) layers: Layers,
    pub(super) chooser: Chooser,
    /// A hash of the text, the same in all processes.
    pub(super) digest: u64,
    /// Another one for each version in this process.
    pub(super) number: u64,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// How long a canary runs unless the file says otherwise: long enough for a few cycles of callers that retry.
const CANARY_FOR: Duration = Duration::from_secs(10 * 60);
/// Requests of a canary before it is judged, unless the file says otherwise: a rate of 5 % shows in them.
const CANARY_MIN_REQUESTS: u64 = 100;

impl Version {
    pub(super) fn build(
        file: File,
        digest: u64,
        old: Option<&Self>,
        hooks: &Hooks,
        scale: Scale,
    ) -> Self {
        let old = old.map(|old| (&old.file, &old.layers));
        let layers = Build { new: &file, old, hooks, scale }.layers();
        let chooser = Chooser::new(&file, &layers, hooks);
        Self { file, layers, chooser, digest, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Snapshot {
    /// The policies for a request, and its sample while a canary runs.
    pub(super) fn version_for<B>(
        &self,
        set: &PolicySet,
        request: &Request<B>,
    ) -> (&Chooser, Option<Sample>) {
        let Some(canary) = &self.canary else { return (&self.stable.chooser, None) };
        let (part, is_live) = (canary.selects(request.extensions()), canary.is_live());
        let version = if part.0 && is_live { &canary.version } else { &self.stable };
        (&version.chooser, Some(Sample::new(set, canary, part, is_live)))
    }
}

impl Snapshot {
    /// The same without its canary.
    pub(super) fn without_canary(&self) -> Arc<Self> {
        Arc::new(Self { stable: Arc::clone(&self.stable), canary: None })
    }
}

impl CanaryOptions {
    /// `None`: the file has no canary.
    pub(super) fn of(file: &File) -> Option<Self> {
        let Share(share) = file.canary.get()?;
        let lasts = file.canary_for.get().unwrap_or(CANARY_FOR);
        let min_requests = file.canary_min_requests.get().unwrap_or(CANARY_MIN_REQUESTS);
        Some(Self { share, lasts, min_requests })
    }
}

/// FNV-1a, the same in all processes and versions.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
