//! The latency and the work of a request that meets no other.

use crate::scenario::stream::ALL_STAGES;
use crate::world::clock::{fraction, step_key};

use super::{Plan, ServicePlan, Step, StreamPlan};

/// Latency and work of a request alone in the system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Uncontended {
    /// Seconds.
    pub(crate) latency: f64,
    /// The part of the latency that is not spent at the bottleneck.
    pub(crate) elsewhere: f64,
    /// Seconds of work at the bottleneck; 0 if the request is bound to fail.
    pub(crate) work: f64,
    fails: bool,
}

impl Plan {
    /// Latency and work of a request of this stream with this key.
    pub(crate) fn uncontended(&self, stream: u32, key: u64, now: f64) -> Uncontended {
        let mut uncontended = Uncontended::default();
        let StreamPlan { stream, passes, .. } = &self.streams[stream as usize];
        self.uncontended_at(0, *passes, key, stream.demand, now, &mut uncontended);
        if uncontended.fails {
            uncontended.work = 0.0;
        }
        uncontended
    }

    fn uncontended_at(
        &self,
        service: u32,
        stages: u64,
        key: u64,
        demand: f64,
        now: f64,
        uncontended: &mut Uncontended,
    ) {
        let plan = &self.services[service as usize];
        for round in 0..plan.rounds {
            let steps = plan.steps.iter().enumerate();
            for (index, step) in steps.filter(|(index, _)| ServicePlan::passes(stages, *index)) {
                let draw = step_key(key, round, index as u16);
                match step {
                    Step::Visit(local) => {
                        // The fastest replica counts.
                        let all =
                            (0..plan.replicas).map(|n| &self.stations[plan.station(n, *local)]);
                        let slowdown = all.filter_map(|station| station.slowdown(now));
                        let slowdown = slowdown.min_by(f64::total_cmp).unwrap_or(1.0);
                        let station = &self.stations[plan.station(0, *local)];
                        let work = station.draw.of(draw) * demand;
                        uncontended.latency += work * slowdown;
                        if station.counts {
                            uncontended.work += work;
                        } else {
                            uncontended.elsewhere += work * slowdown;
                        }
                    }
                    Step::Delay { draw: law, factors } => {
                        let span = law.of(draw) * factors[0].at(now);
                        (uncontended.latency, uncontended.elsewhere) =
                            (uncontended.latency + span, uncontended.elsewhere + span);
                    }
                    Step::Call { service, .. } => {
                        self.uncontended_at(*service, ALL_STAGES, draw, demand, now, uncontended);
                    }
                    Step::Fail { share, .. } => uncontended.fails |= fraction(draw) < share.at(now),
                    Step::Body { .. } => {}
                }
                if uncontended.fails {
                    return;
                }
            }
        }
    }
}
