//! Streams of requests: how patient their clients are, and how they retry.

use serde::Deserialize;

use crate::distribution::Distribution;

/// The bits of all stages that a service may have.
pub(crate) const ALL_STAGES: u64 = u64::MAX;

/// One kind of client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    /// The class under which it is scored.
    #[serde(default = "all_classes")]
    pub(crate) class: String,
    /// Work per second over the capacity of the scenario.
    pub(crate) load: Option<Amount>,
    /// Requests per second.
    pub(crate) rate: Option<Amount>,
    /// Straight lines between the points of `load` or `rate` instead of steps.
    #[serde(default)]
    pub(crate) ramp: bool,
    #[serde(default)]
    pub(crate) process: Process,
    /// Bursts; instead of `load` and `rate`.
    pub(crate) burst: Option<Burst>,
    /// Clients that wait for each answer, pause, and send the next request; instead of `load` and `rate`.
    pub(crate) closed: Option<Closed>,
    #[serde(default)]
    pub(crate) priority: Criticality,
    #[serde(default)]
    pub(crate) tenants: Tenants,
    /// Number of users.
    #[serde(default = "thousand")]
    pub(crate) users: u32,
    /// Seconds until a user is replaced by a new one; without it never.
    pub(crate) user_life: Option<f64>,
    /// Factor of the work of its requests at each station.
    #[serde(default = "unchanged")]
    pub(crate) demand: f64,
    /// Numbers of the stages of the first service that its requests pass, from 1 on; without it all. Capacity
    /// and knee are those of the requests of the first stream.
    pub(crate) stages: Option<Vec<u32>>,
    /// Seconds that a client waits for the answer to an attempt; without it for ever.
    pub(crate) patience: Option<f64>,
    /// Seconds after which the request is worthless, retries and pauses included.
    pub(crate) deadline: Option<f64>,
    /// Whether the service is told how long the client waits.
    #[serde(default)]
    pub(crate) tells: bool,
    /// Whether a client that gives up cancels the work; otherwise the service goes on with it.
    #[serde(default = "yes")]
    pub(crate) cancels: bool,
    #[serde(default)]
    pub(crate) retry: Retry,
    /// Client processes; each has one retry budget.
    #[serde(default = "one")]
    pub(crate) fleets: u32,
}

impl Stream {
    /// The stages that its requests pass, one bit each.
    pub(crate) fn passes(&self) -> u64 {
        let bits = |stages: &Vec<u32>| stages.iter().fold(0, |all, stage| all | 1 << (stage - 1));
        self.stages.as_ref().map_or(ALL_STAGES, bits)
    }

    /// Requests that arrive at once.
    pub(crate) fn size(&self) -> u32 {
        self.burst.map_or(1, |burst| burst.size)
    }
}

/// A number, or steps of numbers: `[[0, 0.5], [20, 10]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Amount {
    Constant(f64),
    Points(Vec<(f64, f64)>),
}

/// The arrival process of an open stream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Process {
    #[default]
    Poisson,
    /// At equal distances.
    Even,
    /// Poisson at a rate that jumps between two multiples, each for an exponential time.
    Mmpp { low: f64, high: f64, low_for: f64, high_for: f64 },
    /// Poisson at a rate that is `high` times for half a period, then `low` times.
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

/// The tenants of the requests: `count` of them from `first` on; the n-th sends 1/nˢ of what the first one
/// sends.
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

/// How a client retries after a rejection or a time-out. `attempts` includes the first one.
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
    /// When `Retry-After` says, to the letter; jittered if it says nothing.
    Obedient { attempts: u32, whole_seconds: bool },
    /// As RetryLayer.
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

fn all_classes() -> String {
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
