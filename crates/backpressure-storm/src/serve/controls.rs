//! What a visitor may change, within bounds.

use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Duration;

/// The controls; the page has a slider or a switch for each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Requests a second.
    pub(crate) load: f64,
    /// Time of one query of the dependency, of which four run at once.
    pub(crate) delay_ms: f64,
    /// Share of the clients that obey, from 0 to 1; the others retry at once.
    pub(crate) polite: f64,
    /// Whether the layers are in front of the service and of its dependency.
    pub(crate) layers: bool,
}

/// Above this one thread that generates the load would be what is seen.
const MAX_LOAD: f64 = 1_000.0;
const MAX_DELAY_MS: f64 = 1_000.0;

/// 0.8 of what the dependency can do, so that a brown-out of it is too much.
const START: Settings = Settings { load: 160.0, delay_ms: 20.0, polite: 0.0, layers: false };

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Controls(Mutex<Settings>);

impl Default for Controls {
    fn default() -> Self {
        Self(Mutex::new(START))
    }
}

impl Controls {
    pub(crate) fn settings(&self) -> Settings {
        *self.0.lock().expect("no thread panics while it holds the lock")
    }

    /// Puts settings in force, brought within their bounds; a value that is no number is ignored.
    pub(crate) fn set(&self, settings: Settings) -> Settings {
        let mut now = self.0.lock().expect("no thread panics while it holds the lock");
        let within = |value: f64, least: f64, most: f64, old: f64| {
            if value.is_nan() { old } else { value.clamp(least, most) }
        };
        *now = Settings {
            load: within(settings.load, 0.0, MAX_LOAD, now.load),
            delay_ms: within(settings.delay_ms, 1.0, MAX_DELAY_MS, now.delay_ms),
            polite: within(settings.polite, 0.0, 1.0, now.polite),
            layers: settings.layers,
        };
        *now
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.settings().delay_ms / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_brought_within_their_bounds() {
        let controls = Controls::default();
        let wild = Settings { load: 1e9, delay_ms: -5.0, polite: f64::NAN, layers: true };
        let set = controls.set(wild);
        assert_eq!(set, Settings { load: MAX_LOAD, delay_ms: 1.0, polite: 0.0, layers: true });
        assert_eq!(controls.settings(), set);
    }
}
