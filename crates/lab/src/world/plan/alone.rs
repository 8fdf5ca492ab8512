//! What a request would take if nobody else were there.

use crate::world::clock::{fraction, step_key};

use super::{Plan, Step};

/// A request alone in the system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alone {
    /// Seconds.
    pub(crate) latency: f64,
    /// Seconds of work at the bottleneck; none for a request that is bound to fail.
    pub(crate) work: f64,
    fails: bool,
}

impl Plan {
    /// What a request with this key would take if nobody else were there.
    pub(crate) fn alone(&self, key: u64, demand: f64, now: f64) -> Alone {
        let mut alone = Alone::default();
        self.alone_at(0, key, demand, now, &mut alone);
        if alone.fails {
            alone.work = 0.0;
        }
        alone
    }

    fn alone_at(&self, service: u32, key: u64, demand: f64, now: f64, alone: &mut Alone) {
        let plan = &self.services[service as usize];
        for round in 0..plan.rounds {
            for (index, step) in plan.steps.iter().enumerate() {
                let draw = step_key(key, round, index as u16);
                match step {
                    Step::Visit(local) => {
                        let station = &self.stations[plan.station(0, *local)];
                        let work = station.draw.of(draw) * demand;
                        let speed = station.speed.at(now);
                        let slowdown =
                            station.factor.at(now) / if speed > 0.0 { speed } else { 1.0 };
                        alone.latency += work * slowdown;
                        alone.work += if station.counts { work } else { 0.0 };
                    }
                    Step::Delay { draw: law, factors } => {
                        alone.latency += law.of(draw) * factors[0].at(now);
                    }
                    Step::Call { service, .. } => self.alone_at(*service, draw, demand, now, alone),
                    Step::Fail { share } => alone.fails |= fraction(draw) < *share,
                    Step::Body { .. } => {}
                }
                if alone.fails {
                    return;
                }
            }
        }
    }
}
