//! What is set in a file, as text, and what differs between two files.

use std::collections::BTreeMap;

use super::file::File;
use super::format::{Section, list_section};

/// One setting that differs between two files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Where it is: `admission.api.max`.
    pub path: String,
    /// What it was, as it would be written; `None`: it was not set.
    pub before: Option<String>,
    /// What it is now; `None`: it is not set.
    pub after: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{}: {} -> {}", self.path, shown(&self.before), shown(&self.after))
    }
}

fn listed<T: Section + Clone>(section: &T) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    list_section(&mut section.clone(), "", &mut all);
    all
}

/// Whether two sections set the same.
pub(super) fn is_equal<T: Section + Clone>(one: &T, other: &T) -> bool {
    listed(one) == listed(other)
}

/// What differs, by path.
pub(super) fn changes(before: Option<&File>, after: &File) -> Vec<Change> {
    let (before, after) = (before.map(listed).unwrap_or_default(), listed(after));
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes = paths.into_iter().map(|path| Change {
        path: path.clone(),
        before: before.get(path).cloned(),
        after: after.get(path).cloned(),
    });
    changes.filter(|change| change.before != change.after).collect()
}
