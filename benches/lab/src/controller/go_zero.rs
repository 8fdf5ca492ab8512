//! go-zero's adaptive shedder, with its defaults (5 s in 50 buckets, 90 % of the CPU, 1 s to cool).
//!
//! Source: zeromicro/go-zero at 037917d, `core/load/adaptiveshedder.go`, `core/stat/usage.go`. While the CPU is
//! busy, or was within a second of a drop, it drops what exceeds the greatest throughput times the smallest
//! latency of the window. A failure is no sample, as in the original. Left out: its switch and its logs.

mod rolling;

use std::time::Duration;

use backpressure_core::{Outcome, Sample, Timestamp};

use crate::controller::go_zero::rolling::Rolling;
use crate::controller::limiter::teaches;
use crate::controller::{Answer, AttemptInfo, Controller, Instruments, Next, Refusal, Site};

#[derive(Debug, Default)]
struct Shedder {
    flying: u32,
    average_flying: f64,
    window: Rolling,
    cpu: Cpu,
    overloaded_at: Option<Timestamp>,
    dropped_recently: bool,
}

/// CPU usage in thousandths, smoothed.
#[derive(Debug, Default)]
struct Cpu {
    usage: f64,
    /// Seconds of work at the last update, and when that was.
    busy: f64,
    looked: Timestamp,
}

pub(super) fn make(_site: &Site) -> Box<dyn Controller> {
    Box::<Shedder>::default()
}

impl Cpu {
    fn update_window(&mut self, instruments: &Instruments, now: Timestamp) {
        let span = now.since(self.looked).as_secs_f64() * instruments.cores;
        let worked = (instruments.busy - self.busy) / span.max(f64::MIN_POSITIVE);
        self.usage =
            (self.usage * CPU_BETA + (worked * CPU_MAX).floor() * (1.0 - CPU_BETA)).floor();
        self.busy = instruments.busy;
        self.looked = now;
    }
}

impl Shedder {
    fn max_flight(&self, now: Timestamp) -> f64 {
        (self.window.max_pass(now) * self.window.min_latency(now) * rolling::SCALE).max(1.0)
    }

    fn drops(&mut self, now: Timestamp) -> bool {
        if self.cpu.usage >= CPU_THRESHOLD {
            self.overloaded_at = Some(now);
        } else if !self.still_hot(now) {
            return false;
        }
        let factor = (CPU_MAX - self.cpu.usage) / (CPU_MAX - CPU_THRESHOLD);
        let most = self.max_flight(now) * factor.clamp(LEAST_FACTOR, 1.0);
        self.average_flying > most && f64::from(self.flying) > most
    }

    fn still_hot(&mut self, now: Timestamp) -> bool {
        let Some(at) = self.overloaded_at.filter(|_| self.dropped_recently) else {
            return false;
        };
        self.dropped_recently = now.since(at) < COOL_OFF;
        self.dropped_recently
    }
}

impl Controller for Shedder {
    fn arrive(&mut self, _attempt: AttemptInfo, now: Timestamp) -> Answer {
        if self.drops(now) {
            self.dropped_recently = true;
            return Answer::Shed(Refusal::default());
        }
        self.flying += 1;
        Answer::Run
    }

    fn depart(&mut self, _attempt: AttemptInfo, sample: &Sample, now: Timestamp) {
        self.flying -= 1;
        self.average_flying =
            self.average_flying * FLYING_BETA + f64::from(self.flying) * (1.0 - FLYING_BETA);
        if teaches(sample) && sample.outcome == Outcome::Success {
            self.window.pass(sample.latency, now);
        }
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _attempt: AttemptInfo, _now: Timestamp) {}

    fn next_tick(&self) -> Option<Timestamp> {
        Some(self.cpu.looked + CPU_REFRESH)
    }

    fn tick(&mut self, instruments: &Instruments, now: Timestamp) {
        self.cpu.update_window(instruments, now);
    }

    fn limit(&self) -> f64 {
        let hot = self.cpu.usage >= CPU_THRESHOLD || self.dropped_recently;
        if hot { self.max_flight(self.cpu.looked) } else { f64::INFINITY }
    }

    fn queued(&self) -> usize {
        0
    }
}

// The constants of adaptiveshedder.go and usage.go.
const CPU_THRESHOLD: f64 = 900.0;
const CPU_MAX: f64 = 1_000.0;
const CPU_REFRESH: Duration = Duration::from_millis(250);
const CPU_BETA: f64 = 0.95;
const FLYING_BETA: f64 = 0.9;
const COOL_OFF: Duration = Duration::from_secs(1);
const LEAST_FACTOR: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fixtures::at;

    /// Ten buckets as in adaptiveshedder_test.go: 100, 200, … passes, and 1..=10, 11..=20, … ms.
    fn measured() -> Shedder {
        let mut shedder = Shedder::default();
        for bucket in 0..10 {
            for n in 0..(bucket + 1) * 100 {
                let millis = bucket * 10 + 1 + n % 10;
                shedder.window.pass(Duration::from_millis(millis), at(bucket * 100));
            }
        }
        shedder
    }

    /// TestAdaptiveShedderMaxFlight: 900 passes, the last bucket left out, times 6 ms; at ten buckets a second,
    /// as here, 54.
    #[test]
    fn the_published_greatest_flight_is_reproduced() {
        let shedder = measured();
        assert_eq!(shedder.window.max_pass(at(950)), 900.0);
        assert_eq!(shedder.window.min_latency(at(950)), 6.0);
        assert!((shedder.max_flight(at(950)) - 54.0).abs() < 1e-9);
        assert_eq!(Shedder::default().window.max_pass(at(0)), 1.0);
    }

    /// TestAdaptiveShedderShouldDrop and TestAdaptiveShedderStillHot.
    #[test]
    fn the_published_decisions_are_reproduced() {
        let decides = |average_flying, flying, usage| {
            let mut shedder = Shedder { average_flying, flying, ..measured() };
            shedder.cpu.usage = usage;
            shedder.drops(at(950))
        };
        assert!(!decides(50.0, 0, 900.0));
        assert!(!decides(80.0, 50, 900.0));
        assert!(decides(80.0, 80, 900.0));
        assert!(!decides(80.0, 80, 899.0));
        let hot = |at_ms| Shedder {
            dropped_recently: true,
            overloaded_at: Some(at(at_ms)),
            ..Shedder::default()
        };
        assert!(hot(0).still_hot(at(999)) && !hot(0).still_hot(at(1_000)));
    }

    #[test]
    fn cpu_usage_is_averaged_over_five_seconds() {
        let mut cpu = Cpu::default();
        for quarter in 1..=20_u64 {
            let busy = quarter as f64 / 4.0 * 8.0;
            let instruments = Instruments { busy, cores: 8.0, ..Instruments::default() };
            cpu.update_window(&instruments, at(quarter * 250));
        }
        // 1 − 0.95^20 = 0.64, a little less for rounding down twenty times.
        assert!((630.0..642.0).contains(&cpu.usage), "{}", cpu.usage);
    }
}
