//! A scenario made ready to run: every stage of every replica, what the whole can do, and when.

mod capacity;
mod steps;

use crate::controller::Site;
use crate::course::Course;
use crate::law::Draw;
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
    pub(crate) posts: Vec<PostPlan>,
    pub(crate) streams: Vec<StreamPlan>,
    /// Work a second that the bottleneck can do. Work is counted in seconds of the bottleneck's
    /// time as the scenario has it at the start.
    pub(crate) capacity: Course,
    /// Requests a second that it can do.
    pub(crate) requests: Course,
    /// Requests in flight at capacity when nobody waits.
    pub(crate) knee: Course,
    /// Work that a refusal costs at the bottleneck.
    pub(crate) refusal: f64,
    /// The last moment at which something steps.
    pub(crate) change: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) replicas: u32,
    pub(crate) balance: Balance,
    pub(crate) rounds: u16,
    pub(crate) refusal: f64,
    pub(crate) first_post: u32,
    pub(crate) first_station: u32,
    pub(crate) stations: u32,
    pub(crate) steps: Vec<Step>,
    /// The station that works off refusals, counted within the replica.
    pub(crate) refuses: Option<u32>,
    /// The station whose instruments are read: cores of its own, never a dependency's slots.
    pub(crate) shows: Option<u32>,
}

/// What an attempt does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A station, counted within the replica.
    Visit(u32),
    Delay {
        draw: Draw,
        factors: Vec<Course>,
    },
    Call {
        service: u32,
        attempts: u32,
        after: f64,
    },
    Fail {
        share: f64,
    },
    Body {
        draw: Draw,
    },
}

#[derive(Debug)]
pub(crate) struct StationPlan {
    pub(crate) sharing: Sharing,
    pub(crate) cores: Course,
    pub(crate) speed: Course,
    pub(crate) factor: Course,
    pub(crate) draw: Draw,
    /// Whether work is counted here: it is the bottleneck.
    pub(crate) counts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sharing {
    /// One after the other; `visible`: its queue is seen.
    Fifo { visible: bool },
    /// All at once, each at 1/(1 + σ(n−1) + κn(n−1)) of its share.
    Shared { sigma: f64, kappa: f64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PostPlan {
    pub(crate) service: u32,
    pub(crate) replica: u32,
    /// What its controller may be told; the seed is filled in by the world.
    pub(crate) site: Site,
}

#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) stream: Stream,
    /// Requests a second, where arrivals do not wait for answers.
    pub(crate) rate: Course,
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
            posts: capacity.posts(&services, &stations),
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

    /// Names of the classes in the order of the streams, each once.
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
    /// Where a station of a replica stands among all of them.
    pub(crate) const fn station(&self, replica: u32, local: u32) -> usize {
        (self.first_station + replica * self.stations + local) as usize
    }
}

impl StreamPlan {
    fn of(stream: &Stream, capacity: f64) -> Self {
        let rate = match (&stream.load, &stream.rate) {
            (Some(load), _) => course(load, capacity / stream.demand, stream.ramp),
            (_, Some(rate)) => course(rate, 1.0, stream.ramp),
            _ => Course::constant(0.0),
        };
        Self { stream: stream.clone(), rate }
    }
}

fn course(amount: &Amount, unit: f64, ramp: bool) -> Course {
    match amount {
        Amount::Constant(value) => Course::constant(value * unit),
        Amount::Points(points) => {
            let points: Vec<_> = points.iter().map(|&(at, value)| (at, value * unit)).collect();
            if ramp { Course::ramps(&points) } else { Course::steps(points[0].1, &points[1..]) }
        }
    }
}

/// The last step of load, speed, cores or times. What goes on for ever is no step.
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
        _ => &[],
    });
    let courses =
        stations.iter().flat_map(|station| [&station.cores, &station.speed, &station.factor]);
    let steps = courses.chain(delays).flat_map(Course::moments);
    loads.chain(steps).filter(|at| *at < scenario.seconds).max_by(f64::total_cmp)
}
