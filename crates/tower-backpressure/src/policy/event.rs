//! What happened to the policies: for an audit log.

use std::sync::Arc;
use std::time::Duration;

use super::error::PolicyError;
use super::format::amounts::Shown;
use super::listing::Change;

/// What happened to the policies of a [`PolicySet`](super::PolicySet). Its `Display` is one line.
///
/// With the feature `tracing`, each is an event of the target `tower_backpressure::policy`, and with `metrics` it is
/// counted in `backpressure_policy_events_total`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PolicyEvent {
    /// A file is in force, for all requests.
    #[non_exhaustive]
    InForce {
        /// What it changes.
        changes: Arc<[Change]>,
    },
    /// A file is in force for a part of the requests.
    #[non_exhaustive]
    CanaryStarted {
        /// The part, from 0 to 1.
        share: f64,
        /// What it changes.
        changes: Arc<[Change]>,
    },
    /// A canary was good, or an operator promoted it: it is in force for all requests.
    #[non_exhaustive]
    Promoted {
        /// What it changes.
        changes: Arc<[Change]>,
    },
    /// A canary has ended, and the file before it is in force for all requests.
    #[non_exhaustive]
    RolledBack {
        /// Why.
        reason: String,
    },
    /// A file is wrong, or cannot be read: the one before it stays in force.
    #[non_exhaustive]
    Refused {
        /// What is wrong.
        error: Arc<PolicyError>,
    },
    /// The file is looked at from time to time only, since the system does not report changes.
    #[non_exhaustive]
    WatchLost {
        /// Why.
        error: String,
        /// How often the file is looked at.
        interval: Duration,
    },
    /// The system reports changes of the file again.
    WatchRestored,
}

impl PolicyEvent {
    /// Its name, as in metrics: `in_force`, `canary_started`, `promoted`, `rolled_back`, `refused`, `watch_lost` or
    /// `watch_restored`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InForce { .. } => "in_force",
            Self::CanaryStarted { .. } => "canary_started",
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled_back",
            Self::Refused { .. } => "refused",
            Self::WatchLost { .. } => "watch_lost",
            Self::WatchRestored => "watch_restored",
        }
    }

    /// Whether an operator should look at it.
    #[cfg(feature = "tracing")]
    const fn is_warning(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Refused { .. } | Self::WatchLost { .. })
    }

    pub(super) fn report(&self) {
        #[cfg(feature = "metrics")]
        crate::observe::policy_event(self.name());
        #[cfg(feature = "tracing")]
        match self.is_warning() {
            true => tracing::warn!(target: TARGET, event = self.name(), "{self}"),
            false => tracing::info!(target: TARGET, event = self.name(), "{self}"),
        }
    }
}

#[cfg(feature = "tracing")]
const TARGET: &str = "tower_backpressure::policy";

impl std::fmt::Display for PolicyEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |f: &mut std::fmt::Formatter<'_>, changes: &[Change]| {
            changes.iter().enumerate().try_for_each(|(index, change)| {
                write!(f, "{}{change}", if index == 0 { ": " } else { ", " })
            })
        };
        match self {
            Self::InForce { changes } => {
                f.write_str("policies are in force")?;
                list(f, changes)
            }
            Self::CanaryStarted { share, changes } => {
                write!(f, "policies are in force for {} % of the requests", share * 100.0)?;
                list(f, changes)
            }
            Self::Promoted { changes } => {
                f.write_str("the canary is in force for all requests")?;
                list(f, changes)
            }
            Self::RolledBack { reason } => write!(f, "the canary was rolled back: {reason}"),
            Self::Refused { error } => write!(f, "policies stay as they are: {error}"),
            Self::WatchLost { error, interval } => {
                let interval = Shown(*interval);
                write!(f, "the policy file is looked at every {interval} only: {error}")
            }
            Self::WatchRestored => f.write_str("changes of the policy file are reported again"),
        }
    }
}
