//! Who comes: streams of requests, how patient the callers are, and how they try again.

use serde::Deserialize;

use crate::distribution::Distribution;

/// The bits of all stages that a service may have.
pub(crate) const ALL_STAGES: u64 = u64::MAX;

/// One kind of caller.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    /// The class it is judged as.
    #[serde(default = "everybody")]
    pub(crate) class: String,
    /// Work a second over the scenario's capacity.
    pub(crate) load: Option<Amount>,
    /// Requests a second.
    pub(crate) rate: Option<Amount>,
    /// Straight lines between the points of `load` or `rate` instead of steps.
    #[serde(default)]
    pub(crate) ramp: bool,
    #[serde(default)]
    pub(crate) process: Process,
    /// So many at once, again and again; instead of `load` and `rate`.
    pub(crate) burst: Option<Burst>,
    /// Callers who ask, wait for the answer, think, and ask again; instead of `load` and `rate`.
    pub(crate) closed: Option<Closed>,
    #[serde(default)]
    pub(crate) priority: Criticality,
    #[serde(default)]
    pub(crate) tenants: Tenants,
    /// How many users there are.
    #[serde(default = "thousand")]
    pub(crate) users: u32,
    /// Seconds until a user is replaced by a new one; without it: never.
    pub(crate) user_life: Option<f64>,
    /// How much longer than the scenario says its requests take at each station.
    #[serde(default = "unchanged")]
    pub(crate) demand: f64,
    /// Numbers of the entry service's stages that its requests pass, from 1 on; without it: all.
    /// Capacity and knee are those of the first stream's requests.
    pub(crate) stages: Option<Vec<u32>>,
    /// Seconds a caller waits for the answer to an attempt; without it: for ever.
    pub(crate) patience: Option<f64>,
    /// Seconds after which the whole request is worthless, retries and pauses included.
    pub(crate) deadline: Option<f64>,
    /// Whether the service is told until when the caller waits.
    #[serde(default)]
    pub(crate) tells: bool,
    /// Whether a caller who leaves cancels the work, or it goes on for nobody.
    #[serde(default = "yes")]
    pub(crate) cancels: bool,
    #[serde(default)]
    pub(crate) retry: Retry,
    /// Processes the callers are spread over: each has one budget.
    #[serde(default = "one")]
    pub(crate) fleets: u32,
}

impl Stream {
    /// The stages that its requests pass, one bit each.
    pub(crate) fn passes(&self) -> u64 {
        let bits = |stages: &Vec<u32>| stages.iter().fold(0, |all, stage| all | 1 << (stage - 1));
        self.stages.as_ref().map_or(ALL_STAGES, bits)
    }

    /// How many come at once.
    pub(crate) fn size(&self) -> u32 {
        self.burst.map_or(1, |burst| burst.size)
    }
}

/// A number, or numbers from moments on: `[[0, 0.5], [20, 10]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Amount {
    Constant(f64),
    Points(Vec<(f64, f64)>),
}

/// How the arrivals of an open stream are spread.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Process {
    #[default]
    Poisson,
    /// At equal distances.
    Even,
    /// Poisson at a rate that jumps between two multiples, each for an exponential time.
    Mmpp { low: f64, high: f64, low_for: f64, high_for: f64 },
    /// Poisson at a rate that is `high` times for half the period, then `low` times.
    Square { period: f64, low: f64, high: f64 },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Burst {
    pub(crate) size: u32,
    pub(crate) first: f64,
    pub(crate) every: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closed {
    pub(crate) clients: u32,
    pub(crate) think: Distribution,
}

/// See [`backpressure_core::Priority`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Criticality {
    Sheddable,
    Deferrable,
    #[default]
    Normal,
    Critical,
}

/// Whose requests they are: `count` tenants from `first` on; the n-th asks for 1/nˢ of what the
/// first one asks for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tenants {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) zipf: f64,
}

impl Default for Tenants {
    fn default() -> Self {
        Self { first: 0, count: 1, zipf: 0.0 }
    }
}

/// How a caller tries again who was refused or waited in vain. `attempts` counts the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Retry {
    #[default]
    None,
    /// After a fixed pause.
    Naive { attempts: u32, after: f64 },
    /// After up to `base`, doubled each time, at most `cap`.
    Jittered { attempts: u32, base: f64, cap: f64 },
    /// Jittered, as long as the budget lasts.
    Budget { attempts: u32, ratio: f64, base: f64, cap: f64 },
    /// When the server said, to the letter; jittered where it says nothing.
    Obedient { attempts: u32, whole_seconds: bool },
    /// As the client layer that ships.
    Ours { attempts: u32 },
}

impl Retry {
    pub(crate) const fn attempts(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Naive { attempts, .. }
            | Self::Jittered { attempts, .. }
            | Self::Budget { attempts, .. }
            | Self::Obedient { attempts, .. }
            | Self::Ours { attempts } => attempts,
        }
    }
}

fn everybody() -> String {
    "all".to_owned()
}

const fn thousand() -> u32 {
    1_000
}

const fn unchanged() -> f64 {
    1.0
}

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}
