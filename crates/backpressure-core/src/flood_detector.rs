//! Telling a flood from ordinary overload.

use crate::time::Timestamp;

/// Counts the requests that cannot run at once against the turns of the service.
#[derive(Debug, Default)]
pub(crate) struct FloodDetector {
    /// Those of the last turns, older ones counting less.
    asked: f64,
    at: Timestamp,
}

/// Time constant, in turns of the service: a turn is the time in which one request is finished.
const TURNS: f64 = 2.0;
/// So many within the last turns are a flood. Ten times the capacity makes 20 of them, and chance
/// this many hardly ever; callers that ask again at once pass it within a turn.
const MANY: f64 = 40.0;

impl FloodDetector {
    /// A request finds no place at a service that finishes `per_second`; `None`: that is not known.
    pub(crate) fn crowded(&mut self, per_second: Option<f64>, now: Timestamp) {
        let Some(per_second) = per_second else { return };
        let turns = now.since(self.at).as_secs_f64() * per_second;
        self.asked = self.asked * (-turns / TURNS).exp() + 1.0;
        self.at = now;
    }

    /// Whether there was a flood when the last one came.
    pub(crate) fn is_flood(&self) -> bool {
        self.asked >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Whether requests at this multiple of the capacity, evenly spaced, are a flood.
    fn floods(times: f64, per_second: f64) -> bool {
        let mut flood = FloodDetector::default();
        (0..1_000).any(|n| {
            let at = Duration::from_secs_f64(f64::from(n) / (times * per_second));
            flood.crowded(Some(per_second), Timestamp::ZERO + at);
            flood.is_flood()
        })
    }

    #[test]
    fn ordinary_overload_is_no_flood_and_asking_again_at_once_is() {
        for per_second in [5.0, 200.0, 20_000.0] {
            assert!(!floods(15.0, per_second) && floods(25.0, per_second), "{per_second} a second");
        }
    }
}
