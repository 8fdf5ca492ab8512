//! A scenario, compiled: every stage of every replica, and the capacity of the whole over time.

mod capacity;
mod steps;
mod uncontended;

use backpressure_core::Outcome;

use crate::controller::Site;
use crate::distribution::Sampler;
use crate::piecewise::Piecewise;
use crate::scenario::Scenario;
use crate::scenario::service::Balance;
use crate::scenario::stream::{Amount, Stream};

use capacity::Capacity;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) services: Vec<ServicePlan>,
    pub(crate) stations: Vec<StationPlan>,
    pub(crate) servers: Vec<ServerPlan>,
    pub(crate) streams: Vec<StreamPlan>,
    /// Work per second that the bottleneck can do. Work is counted in seconds of the bottleneck's time, as at
    /// the start of the scenario.
    pub(crate) capacity: Piecewise,
    /// Requests per second that it can do.
    pub(crate) requests: Piecewise,
    /// Requests in flight at capacity when none waits.
    pub(crate) knee: Piecewise,
    /// Work that a rejection costs at the bottleneck.
    pub(crate) refusal: f64,
    /// The last moment at which something changes in a step.
    pub(crate) change: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) replicas: u32,
    pub(crate) balance: Balance,
    pub(crate) rounds: u16,
    pub(crate) refusal: f64,
    pub(crate) first_server: u32,
    pub(crate) first_station: u32,
    pub(crate) stations: u32,
    pub(crate) steps: Vec<Step>,
    /// The station that pays for rejections, counted within the replica.
    pub(crate) refuses: Option<u32>,
    /// The station whose cores a controller may read: cores of the process, not the slots of a dependency.
    pub(crate) shows: Option<u32>,
}

/// What an attempt does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A station, counted within the replica.
    Visit(u32),
    Delay {
        draw: Sampler,
        factors: Vec<Piecewise>,
    },
    Call {
        service: u32,
        attempts: u32,
        after: f64,
    },
    Fail {
        share: Piecewise,
        outcome: Outcome,
    },
    Body {
        draw: Sampler,
    },
}

impl Step {
    /// Whether a handler yields here.
    pub(crate) const fn yields(&self) -> bool {
        matches!(self, Self::Visit(_) | Self::Delay { .. } | Self::Call { .. })
    }
}

#[derive(Debug)]
pub(crate) struct StationPlan {
    pub(crate) sharing: Sharing,
    pub(crate) cores: Piecewise,
    pub(crate) speed: Piecewise,
    pub(crate) factor: Piecewise,
    pub(crate) draw: Sampler,
    /// Whether this is the bottleneck, where work is counted.
    pub(crate) counts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sharing {
    /// First come, first served; `visible`: the process can measure the queue.
    Fifo { visible: bool },
    /// Processor sharing: each of n jobs runs at 1/(1 + σ(n−1) + κn(n−1)) of its share.
    Shared { sigma: f64, kappa: f64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerPlan {
    pub(crate) service: u32,
    pub(crate) replica: u32,
    /// What its controller may know; the world fills in the seed.
    pub(crate) site: Site,
}

#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) stream: Stream,
    /// Requests per second, unless clients wait for answers.
    pub(crate) rate: Piecewise,
    /// The stages of the first service that its requests pass, one bit each.
    pub(crate) passes: u64,
}

impl Plan {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let (services, mut stations) = steps::compile(scenario);
        let capacity = Capacity::of(scenario, &services, &stations);
        for station in capacity.bottleneck(&services) {
            stations[station].counts = true;
        }
        let rate = capacity.requests.at(0.0);
        Self {
            seconds: scenario.seconds,
            warmup: scenario.warmup,
            servers: capacity.servers(&services, &stations),
            streams: scenario.streams.iter().map(|stream| StreamPlan::of(stream, rate)).collect(),
            capacity: capacity.work(),
            requests: capacity.requests.clone(),
            knee: capacity.knee(&services, &stations),
            refusal: capacity.refusal(&services),
            change: scenario.change.or_else(|| last_step(scenario, &stations, &services)),
            services,
            stations,
        }
    }

    /// Names of the classes in the order of the streams, without repetition.
    pub(crate) fn classes(&self) -> Vec<&str> {
        let mut classes: Vec<&str> = Vec::new();
        for plan in &self.streams {
            if !classes.contains(&plan.stream.class.as_str()) {
                classes.push(&plan.stream.class);
            }
        }
        classes
    }
}

impl ServicePlan {
    /// Index of a station of a replica.
    pub(crate) const fn station(&self, replica: u32, local: u32) -> usize {
        (self.first_station + replica * self.stations + local) as usize
    }

    /// Whether an attempt with these stages passes a step.
    pub(crate) const fn passes(stages: u64, step: usize) -> bool {
        stages >> step & 1 == 1
    }

    /// Whether one of the stations of a replica has no cores.
    pub(crate) fn is_lost(&self, replica: u32, stations: &[StationPlan], at: f64) -> bool {
        (0..self.stations).any(|local| stations[self.station(replica, local)].cores.at(at) == 0.0)
    }

    /// The replica that gets the next request, by round robin or as the better of two drawn at random.
    /// `outstanding`: requests at a replica; `None`: it is lost, and skipped unless all are.
    pub(crate) fn replica(
        &self,
        turn: &mut u32,
        draw: u64,
        outstanding: impl Fn(u32) -> Option<u32>,
    ) -> u32 {
        let count = self.replicas;
        if count == 1 {
            return 0;
        }
        let there = |from: u32| {
            let mut all = (from..from + count).map(|replica| replica % count);
            all.find(|replica| outstanding(*replica).is_some()).unwrap_or(from)
        };
        if self.balance == Balance::RoundRobin {
            *turn = there((*turn + 1) % count);
            return *turn;
        }
        let one = there((draw >> 32) as u32 % count);
        let other = there((one + 1 + draw as u32 % (count - 1)) % count);
        if outstanding(other) < outstanding(one) { other } else { one }
    }
}

impl StreamPlan {
    fn of(stream: &Stream, capacity: f64) -> Self {
        let rate = match (&stream.load, &stream.rate) {
            (Some(load), _) => course(load, capacity / stream.demand, stream.ramp),
            (_, Some(rate)) => course(rate, 1.0, stream.ramp),
            _ => Piecewise::constant(0.0),
        };
        Self { stream: stream.clone(), rate, passes: stream.passes() }
    }
}

fn course(amount: &Amount, unit: f64, ramp: bool) -> Piecewise {
    match amount {
        Amount::Constant(value) => Piecewise::constant(value * unit),
        Amount::Points(points) => {
            let points: Vec<_> = points.iter().map(|&(at, value)| (at, value * unit)).collect();
            if ramp {
                Piecewise::ramps(&points)
            } else {
                Piecewise::steps(points[0].1, &points[1..])
            }
        }
    }
}

/// The last step of load, speed, cores or times. Periodic changes are no steps.
fn last_step(
    scenario: &Scenario,
    stations: &[StationPlan],
    services: &[ServicePlan],
) -> Option<f64> {
    let periodic = scenario.services.iter().flat_map(|service| &service.stages).any(|stage| {
        let varying = stage.varying();
        varying.wave.is_some() || varying.stalls.iter().any(|stall| stall.every.is_some())
    });
    if periodic {
        return None;
    }
    let loads = scenario.streams.iter().flat_map(|stream| {
        let points = match (&stream.load, &stream.rate) {
            (Some(Amount::Points(points)), _) | (_, Some(Amount::Points(points))) => &points[..],
            _ => &[],
        };
        points.iter().skip(1).map(|point| point.0)
    });
    let delays = services.iter().flat_map(|service| &service.steps).flat_map(|step| match step {
        Step::Delay { factors, .. } => &factors[..],
        Step::Fail { share, .. } => std::slice::from_ref(share),
        _ => &[],
    });
    let courses =
        stations.iter().flat_map(|station| [&station.cores, &station.speed, &station.factor]);
    let steps = courses.chain(delays).flat_map(Piecewise::moments);
    loads.chain(steps).filter(|at| *at < scenario.seconds).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(services: &str) -> Plan {
        let stream = "[[stream]]\nload = [[0, 1], [40, 2]]\n";
        Plan::of(&Scenario::made_up(60.0, &format!("{services}{stream}")).unwrap())
    }

    fn assert_close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn the_knee_of_cores_and_waits_is_the_number_in_flight_that_keeps_the_cores_busy() {
        let cpu = "[[service.stage]]\nkind = 'fifo'\ncores = 4\nvisible = true\ntime = { exp = 0.0025 }\n";
        let wait = "[[service.stage]]\nkind = 'delay'\ntime = { fixed = 0.0225 }\nchanges = [{ at = 30, time = 10 }]\n";
        let plan = plan(&format!("[[service]]\nname = 'api'\nrounds = 4\n{cpu}{wait}"));
        assert_close(plan.requests.at(0.0), 400.0);
        assert_close(plan.knee.at(0.0), 40.0);
        assert_close(plan.knee.at(30.0), 4.0 + 360.0);
        assert_close(plan.capacity.at(50.0), 4.0);
        let Site { knee, cores, mean, .. } = plan.servers[0].site;
        assert_close(knee, 40.0);
        assert_close(cores, 4.0);
        assert_close(mean, 0.1);
        assert_eq!(plan.change, Some(40.0));
    }

    #[test]
    fn the_narrowest_service_of_a_chain_is_its_capacity() {
        let front = "[[service]]\nname = 'front'\n[[service.stage]]\nkind = 'fail'\nshare = 0.5\n
[[service.stage]]\nkind = 'call'\nservice = 'store'\n[[service.stage]]\nkind = 'call'\nservice = 'store'\n
[[service.stage]]\nkind = 'ps'\ncores = 8\ntime = { exp = 0.01 }\n";
        let store = "[[service]]\nname = 'store'\n[[service.stage]]\nkind = 'slots'\nslots = 2\ntime = { exp = 0.01 }\n";
        let plan = plan(&format!("{front}{store}"));
        // Half of the requests call twice: one call per request, 200 calls a second.
        assert_close(plan.requests.at(0.0), 200.0);
        assert_close(plan.capacity.at(0.0), 2.0);
        assert!(plan.stations[1].counts && !plan.stations[0].counts);
        assert_close(plan.servers[1].site.knee, 2.0);
    }

    #[test]
    fn a_slow_replica_lowers_the_capacity_of_the_whole() {
        let stage = "kind = 'fifo'\ncores = 4\ntime = { exp = 0.04 }\nchanges = [{ at = 0, speed = 0.5, replica = 1 }]\n";
        let plan =
            plan(&format!("[[service]]\nname = 'api'\nreplicas = 4\n[[service.stage]]\n{stage}"));
        assert_close(plan.requests.at(0.0), 350.0);
        let knee = |replica: usize| plan.servers[replica].site.knee;
        assert_close(knee(0), 2.0 * knee(1));
    }

    #[test]
    fn the_cost_of_rejections_counts_only_if_the_cores_are_the_bottleneck() {
        let of = |cores: u32| {
            let service =
                "[[service]]\nname = 'api'\nrefusal = 0.001\n[[service.stage]]\nkind = 'fifo'\n";
            let slots = "[[service.stage]]\nkind = 'slots'\nslots = 8\ntime = { exp = 0.01 }\n";
            plan(&format!("{service}cores = {cores}\ntime = {{ exp = 0.01 }}\n{slots}")).refusal
        };
        assert_eq!((of(4), of(16)), (0.001, 0.0));
    }
}
