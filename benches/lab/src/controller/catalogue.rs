//! The controllers by name.

use crate::controller::{
    Controller, Site, aimd, baseline, codel, envoy, failsafe, gradient2, ours, tower, tower_crates,
};

/// One controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// A line about it for tables and `--list`.
    pub(crate) says: &'static str,
    pub(crate) make: fn(&Site) -> Box<dyn Controller>,
}

/// All controllers, in the order of the tables.
pub(crate) const ALL: &[Entry] = &[
    entry("none", "no limit", baseline::unlimited),
    entry("static-c", "fixed limit: the knee at the start; no queue", baseline::knee),
    entry(
        "static-2c",
        "fixed limit: twice the knee at the start; no queue",
        baseline::twice_the_knee,
    ),
    entry("ours", "the library: adaptive limit, bounded queue, Retry-After schedule", ours::make),
    entry(
        "tower",
        "tower ConcurrencyLimit at the knee; requests wait for a permit",
        tower::waiting,
    ),
    entry("tower-shed", "tower ConcurrencyLimit at the knee under LoadShed", tower::shedding),
    entry("aimd", "Netflix AIMD", aimd::make),
    entry("gradient2", "Netflix Gradient2, one step per sample", gradient2::per_sample),
    entry("gradient2-1s", "Netflix Gradient2 in windows of a second", gradient2::windowed),
    entry("envoy", "Envoy's gradient controller", envoy::make),
    entry("failsafe", "failsafe-go's adaptive limiter", failsafe::make),
    entry("codel", "folly's CoDel in front of as many threads as the knee", codel::make),
    entry("tower-acc-vegas", "tower-acc Vegas under LoadShed", tower_crates::acc_vegas),
    entry("tower-acc-gradient2", "tower-acc Gradient2 under LoadShed", tower_crates::acc_gradient2),
    entry("resilience-aimd", "tower-resilience AIMD under LoadShed", tower_crates::resilience_aimd),
    entry(
        "resilience-vegas",
        "tower-resilience Vegas under LoadShed",
        tower_crates::resilience_vegas,
    ),
    entry(
        "resilience-gradient2",
        "tower-resilience Gradient2 under LoadShed",
        tower_crates::resilience_gradient2,
    ),
];

const fn entry(
    name: &'static str,
    says: &'static str,
    make: fn(&Site) -> Box<dyn Controller>,
) -> Entry {
    Entry { name, says, make }
}

/// The controller of that name.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use backpressure_core::{Outcome, Timestamp};
    use fastrand::Rng;

    use super::*;
    use crate::controller::fixtures::{SITE, at, attempt, overload, success};
    use crate::controller::{Answer, Next};

    /// A server at twice its capacity that takes a random time per request and loses some. A controller in
    /// front of it must neither lose nor invent an attempt.
    #[derive(Debug)]
    struct CrowdedServer {
        controller: Box<dyn Controller>,
        rng: Rng,
        running: BTreeSet<u64>,
        waiting: BTreeSet<u64>,
        history: Vec<String>,
        now: Timestamp,
        silent: bool,
    }

    impl CrowdedServer {
        fn with(entry: &Entry) -> Self {
            Self {
                controller: (entry.make)(&SITE),
                rng: Rng::with_seed(3),
                running: BTreeSet::new(),
                waiting: BTreeSet::new(),
                history: Vec::new(),
                now: Timestamp::ZERO,
                silent: entry.name != "ours",
            }
        }

        fn arrive(&mut self, id: u64) {
            let answer = self.controller.arrive(attempt(id), self.now);
            self.history.push(format!("{id} {answer:?}"));
            match answer {
                Answer::Run => assert!(self.running.insert(id)),
                Answer::Wait => assert!(self.waiting.insert(id)),
                Answer::Shed(refusal) => {
                    assert!(!self.silent || refusal.retry_after.is_none());
                }
            }
        }

        fn depart(&mut self) {
            let nth = self.rng.usize(..self.running.len().max(1));
            let Some(&id) = self.running.iter().nth(nth) else { return };
            self.running.remove(&id);
            let micros = self.rng.u64(5_000..50_000);
            let sample = match self.rng.u8(..10) {
                0 => overload(micros, self.running.len() + 1),
                1 => success(micros, self.running.len() + 1).outcome(Outcome::Cancelled),
                _ => success(micros, self.running.len() + 1),
            };
            self.controller.depart(attempt(id), &sample, self.now);
        }

        fn abandon(&mut self) {
            if let Some(id) = self.waiting.pop_last() {
                self.controller.abandon(attempt(id), self.now);
            }
        }

        fn settle(&mut self) {
            while self.controller.next_tick().is_some_and(|due| due <= self.now) {
                self.controller.tick(self.now);
            }
            while let Some(next) = self.controller.next(self.now) {
                self.history.push(format!("{next:?}"));
                match next {
                    Next::Run(id) => assert!(self.waiting.remove(&id) && self.running.insert(id)),
                    Next::Shed(id, _) => assert!(self.waiting.remove(&id)),
                }
            }
            assert_eq!(self.controller.queued(), self.waiting.len());
            assert!(self.controller.limit() >= 1.0);
        }

        fn run(mut self) -> Vec<String> {
            for id in 0..5_000 {
                self.now = at(id);
                self.arrive(id);
                self.settle();
                match self.rng.u8(..8) {
                    0..4 => self.depart(),
                    4 => self.abandon(),
                    _ => {}
                }
                self.settle();
            }
            self.history
        }
    }

    #[test]
    fn no_controller_loses_or_invents_an_attempt_and_each_repeats_itself() {
        for entry in ALL {
            let history = CrowdedServer::with(entry).run();
            assert!(
                history == CrowdedServer::with(entry).run(),
                "{} does not repeat itself",
                entry.name
            );
        }
    }

    #[test]
    fn every_name_is_found_and_occurs_once() {
        for entry in ALL {
            assert_eq!(ALL.iter().filter(|other| other.name == entry.name).count(), 1);
            assert!(find(entry.name).is_some_and(|found| found.says == entry.says));
        }
    }
}
