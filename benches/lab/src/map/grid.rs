//! The axes of the map: triggers, loads and clients.

use serde::Serialize;
use std::fmt;

/// What happens to a healthy service for a while.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strength {
    /// Its capacity falls to this share.
    Capacity(f64),
    /// Its load rises to this multiple.
    Load(f64),
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity(share) => write!(f, "speed {:.0} %", share * 100.0),
            Self::Load(times) => write!(f, "load ×{times}"),
        }
    }
}

/// What clients do after a rejection or a time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    /// Give up.
    Once,
    /// Retry at once, three times.
    Naive3,
    /// Retry at once, ten times.
    Naive10,
    /// Retry three times with exponential backoff and full jitter.
    Jittered,
    /// The same, within a retry budget of a tenth.
    Budget,
    /// Retry three times when the server says, or at once if it does not.
    Obedient,
    /// Retry as RetryLayer does.
    Ours,
}

impl Policy {
    /// In the order of the page; the last is ours.
    pub(crate) const ALL: [Self; 7] = [
        Self::Once,
        Self::Naive3,
        Self::Naive10,
        Self::Jittered,
        Self::Budget,
        Self::Obedient,
        Self::Ours,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Once => "no retry",
            Self::Naive3 => "3 retries at once",
            Self::Naive10 => "10 retries at once",
            Self::Jittered => "3 retries, backoff with full jitter",
            Self::Budget => "the same, budget of a tenth",
            Self::Obedient => "3 retries, Retry-After to the letter",
            Self::Ours => "RetryLayer",
        }
    }
}

/// The layers in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Layers {
    Neither,
    Client,
    Server,
    Both,
}

impl Layers {
    pub(crate) const ALL: [Self; 4] = [Self::Neither, Self::Client, Self::Server, Self::Both];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Neither => "no layer",
            Self::Client => "RetryLayer only",
            Self::Server => "AdmissionLayer only",
            Self::Both => "both",
        }
    }

    const fn of(server: bool, policy: Policy) -> Self {
        match (server, matches!(policy, Policy::Ours)) {
            (false, false) => Self::Neither,
            (false, true) => Self::Client,
            (true, false) => Self::Server,
            (true, true) => Self::Both,
        }
    }
}

/// The parameters of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Place {
    pub(crate) layers: Layers,
    pub(crate) policy: Policy,
    /// Load of first attempts, over capacity.
    pub(crate) load: f64,
    pub(crate) trigger: Strength,
    pub(crate) trigger_s: f64,
}

impl Place {
    /// Whether the server has AdmissionLayer.
    pub(crate) const fn guarded(&self) -> bool {
        matches!(self.layers, Layers::Server | Layers::Both)
    }
}

/// The axes of the map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) loads: &'static [f64],
    pub(crate) triggers: &'static [Strength],
    pub(crate) seconds: &'static [f64],
}

use Strength::{Capacity, Load};

const FULL: Grid = Grid {
    loads: &[0.5, 0.7, 0.9],
    triggers: &[
        Capacity(0.7),
        Capacity(0.5),
        Capacity(0.3),
        Capacity(0.2),
        Capacity(0.1),
        Capacity(0.03),
        Capacity(0.0),
        Load(2.0),
        Load(3.0),
        Load(5.0),
        Load(7.0),
        Load(10.0),
    ],
    seconds: &[0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0],
};

const QUICK: Grid = Grid {
    loads: &[0.7, 0.9],
    triggers: &[Capacity(0.3), Capacity(0.0), Load(4.0), Load(10.0)],
    seconds: &[0.3, 1.0, 3.0, 10.0],
};

impl Grid {
    pub(crate) const fn of(quick: bool) -> Self {
        if quick { QUICK } else { FULL }
    }

    /// Every cell, in the order of the page.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (server, policy) in [false, true].into_iter().flat_map(|s| Policy::ALL.map(|p| (s, p)))
        {
            let layers = Layers::of(server, policy);
            for &load in self.loads {
                for &trigger in self.triggers {
                    places.extend(self.seconds.iter().map(|&trigger_s| Place {
                        layers,
                        policy,
                        load,
                        trigger,
                        trigger_s,
                    }));
                }
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_a_thousand_cells_without_and_with_the_layers() {
        let places = Grid::of(false).places();
        for guarded in [false, true] {
            let cells = places.iter().filter(|place| place.guarded() == guarded).count();
            assert!(cells >= 1_000, "{cells}");
        }
    }
}
