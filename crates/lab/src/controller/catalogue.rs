//! The controllers there are, by name.

use crate::controller::{Controller, fixed, open, ours};

/// What a controller may be told of the server it stands at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Site {
    /// How many requests are in flight at capacity when nobody waits, at the start of the run.
    /// A clairvoyant's knowledge: only baselines that say so may use it.
    pub(crate) knee: f64,
    /// Workers that run requests: what a process can ask its machine.
    pub(crate) cores: f64,
    /// Mean latency of a request alone in the system, in seconds. Clairvoyant, as the knee.
    pub(crate) mean: f64,
    /// For whatever the controller draws.
    pub(crate) seed: u64,
    /// Which of the service's replicas this is.
    pub(crate) replica: u32,
}

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
