//! The controllers there are, by name.

use crate::controller::{Controller, Site, fixed, open, ours};

/// One controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) says: &'static str,
    pub(crate) make: fn(&Site) -> Box<dyn Controller>,
}

/// All of them, in the order of the tables.
pub(crate) const ALL: &[Entry] = &[
    Entry { name: "none", says: "admits everybody", make: open::make },
    Entry {
        name: "static-c",
        says: "the knee at the start, for ever; no queue",
        make: fixed::knee,
    },
    Entry {
        name: "static-2c",
        says: "twice the knee at the start, for ever; no queue",
        make: fixed::twice_the_knee,
    },
    Entry {
        name: "ours",
        says: "the machine that ships: adaptive limit, bounded queue, reservations",
        make: ours::make,
    },
];

/// The controller of that name.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}
