//! One file and its layers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::build::{Build, Layers};
use super::choose::Chooser;
use super::file::File;
use super::hooks::Hooks;
use super::scale::Scale;

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

/// FNV-1a, the same in all processes and versions.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
