//! Services, their replicas, and the stages that a request passes.

use serde::Deserialize;

use crate::distribution::Distribution;
use crate::piecewise::Piecewise;

/// A service; each replica has a controller of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) name: String,
    #[serde(default = "one")]
    pub(crate) replicas: u32,
    #[serde(default)]
    pub(crate) balance: Balance,
    /// How often a request passes the stages.
    #[serde(default = "one")]
    pub(crate) rounds: u32,
    /// Seconds of a core that a rejection costs.
    #[serde(default)]
    pub(crate) refusal: f64,
    #[serde(rename = "stage")]
    pub(crate) stages: Vec<Stage>,
}

/// How the replica of a request is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    #[default]
    RoundRobin,
    /// The better of two drawn at random, by requests outstanding.
    P2c,
}

/// A stage that every admitted attempt passes.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Stage {
    /// Cores with one run queue.
    Fifo {
        cores: u32,
        /// Whether this is the process itself, which can measure its run queue; otherwise only latency shows
        /// the queue.
        #[serde(default)]
        visible: bool,
        time: Distribution,
        #[serde(default)]
        changes: Vec<Change>,
        #[serde(default)]
        stalls: Vec<Stall>,
        wave: Option<Wave>,
    },
    /// A pool of slots behind an await.
    Slots {
        slots: u32,
        time: Distribution,
        #[serde(default)]
        changes: Vec<Change>,
        #[serde(default)]
        stalls: Vec<Stall>,
        wave: Option<Wave>,
    },
    /// Cores shared equally by all requests.
    Ps {
        cores: u32,
        time: Distribution,
        #[serde(default)]
        changes: Vec<Change>,
        #[serde(default)]
        stalls: Vec<Stall>,
        wave: Option<Wave>,
    },
    /// Shared, and slower the more requests share it: each runs at 1/(1 + σ(n−1) + κn(n−1)).
    Usl {
        sigma: f64,
        kappa: f64,
        time: Distribution,
        #[serde(default)]
        changes: Vec<Change>,
        #[serde(default)]
        stalls: Vec<Stall>,
    },
    /// Time passes without any resource in use.
    Delay {
        time: Distribution,
        #[serde(default)]
        changes: Vec<Change>,
    },
    /// A call of another service.
    Call {
        service: String,
        /// Attempts in all before the call fails.
        #[serde(default = "one")]
        attempts: u32,
        /// Seconds between two attempts.
        #[serde(default)]
        after: f64,
    },
    /// A share of the requests ends here at once, with an error or a rejection.
    Fail {
        share: f64,
        #[serde(default, rename = "with")]
        failure: Failure,
        /// Only with `at` and `share`.
        #[serde(default)]
        changes: Vec<Change>,
    },
    /// The head of the answer is sent and the body is read slowly. Only other bodies may follow.
    Body { time: Distribution },
}

/// The answer to a request that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Failure {
    /// An error: a 500.
    #[default]
    Error,
    /// A rejection: a 503 from a limiter further down.
    Overload,
}

/// From `at` on; what is not named stays as it was.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) at: f64,
    /// Speed, 1 at the start.
    pub(crate) speed: Option<f64>,
    /// Cores or slots. A replica with none is lost, and no request is sent to it.
    pub(crate) cores: Option<u32>,
    /// Share of requests that fail.
    pub(crate) share: Option<f64>,
    /// Factor of the duration of everything that starts from now on, 1 at the start.
    pub(crate) time: Option<f64>,
    /// Only this replica; without it all.
    pub(crate) replica: Option<u32>,
}

/// Work stops at `at` for this long, and again after every `every` seconds if that is given.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stall {
    pub(crate) at: f64,
    #[serde(rename = "for")]
    pub(crate) span: f64,
    pub(crate) every: Option<f64>,
}

/// The speed follows a sine around 1, in small steps.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wave {
    pub(crate) period: f64,
    pub(crate) depth: f64,
}

const fn one() -> u32 {
    1
}

/// The parts of a stage that change, whatever its kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Varying<'a> {
    pub(crate) changes: &'a [Change],
    pub(crate) stalls: &'a [Stall],
    pub(crate) wave: Option<Wave>,
}

/// Steps in a period of a wave.
const WAVE_STEPS: u32 = 32;

impl Stage {
    /// Whether requests compete for something here.
    pub(crate) const fn is_station(&self) -> bool {
        matches!(self, Self::Fifo { .. } | Self::Slots { .. } | Self::Ps { .. } | Self::Usl { .. })
    }

    pub(crate) fn time(&self) -> Option<Distribution> {
        match *self {
            Self::Fifo { time, .. }
            | Self::Slots { time, .. }
            | Self::Ps { time, .. }
            | Self::Usl { time, .. }
            | Self::Delay { time, .. }
            | Self::Body { time } => Some(time),
            Self::Call { .. } | Self::Fail { .. } => None,
        }
    }

    pub(crate) fn varying(&self) -> Varying<'_> {
        match self {
            Self::Fifo { changes, stalls, wave, .. }
            | Self::Slots { changes, stalls, wave, .. }
            | Self::Ps { changes, stalls, wave, .. } => Varying { changes, stalls, wave: *wave },
            Self::Usl { changes, stalls, .. } => Varying { changes, stalls, wave: None },
            Self::Delay { changes, .. } | Self::Fail { changes, .. } => {
                Varying { changes, ..Varying::default() }
            }
            Self::Call { .. } | Self::Body { .. } => Varying::default(),
        }
    }
}

impl Varying<'_> {
    /// Speed of `replica` over time.
    pub(crate) fn speed(self, replica: u32, seconds: f64) -> Piecewise {
        let steady = self.course(replica, 1.0, |change| change.speed);
        let stalls = self.stalls.iter().map(|stall| stall.course(seconds));
        let moving = stalls.fold(steady, |speed, stall| speed.times(&stall));
        match self.wave {
            Some(wave) => moving.times(&wave.course(seconds)),
            None => moving,
        }
    }

    /// Factor of durations over time.
    pub(crate) fn factor(self, replica: u32) -> Piecewise {
        self.course(replica, 1.0, |change| change.time)
    }

    /// Cores or slots over time.
    pub(crate) fn cores(self, replica: u32, initial: u32) -> Piecewise {
        self.course(replica, f64::from(initial), |change| change.cores.map(f64::from))
    }

    /// The share that fails over time.
    pub(crate) fn share(self, initial: f64) -> Piecewise {
        self.course(0, initial, |change| change.share)
    }

    fn course(self, replica: u32, initial: f64, of: impl Fn(&Change) -> Option<f64>) -> Piecewise {
        let here = |change: &&Change| change.replica.is_none_or(|only| only == replica);
        let steps = self.changes.iter().filter(here);
        let steps: Vec<_> = steps.filter_map(|change| Some((change.at, of(change)?))).collect();
        Piecewise::steps(initial, &steps)
    }
}

impl Stall {
    fn course(self, seconds: f64) -> Piecewise {
        let starts = std::iter::successors(Some(self.at), |at| Some(at + self.every?));
        let starts = starts.take_while(|at| *at < seconds);
        let steps: Vec<_> = starts.flat_map(|at| [(at, 0.0), (at + self.span, 1.0)]).collect();
        Piecewise::steps(1.0, &steps)
    }
}

impl Wave {
    fn course(self, seconds: f64) -> Piecewise {
        let step = self.period / f64::from(WAVE_STEPS);
        let count = (seconds / step).ceil() as u32;
        let steps: Vec<_> = (1..=count)
            .map(|n| (f64::from(n) * step, 1.0 + self.depth * sine(n % WAVE_STEPS)))
            .collect();
        Piecewise::steps(1.0, &steps)
    }
}

/// The sine of this step, rounded to the thousandth, so that it is the same on every platform.
fn sine(step: u32) -> f64 {
    let angle = f64::from(step) / f64::from(WAVE_STEPS) * std::f64::consts::TAU;
    (angle.sin() * 1e3).round() / 1e3
}
