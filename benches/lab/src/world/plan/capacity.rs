//! The capacity of a scenario, its bottleneck, and the requests in flight at capacity. Controllers do not know
//! these.

use crate::controller::Site;
use crate::piecewise::Piecewise;
use crate::scenario::Scenario;
use crate::scenario::service::Stage;

use super::{ServerPlan, ServicePlan, Sharing, StationPlan, Step};

/// Cores that a controller is told if the service has none.
const UNKNOWN_CORES: f64 = 2.0;

#[derive(Debug)]
pub(super) struct Capacity {
    /// Requests per second that the whole can do.
    pub(super) requests: Piecewise,
    /// All stages that are stations.
    loads: Vec<Load>,
    /// Which of them is the bottleneck.
    least: Option<usize>,
    /// Mean number of visits of a request to each service.
    visits: Vec<f64>,
    /// The stages that a request of the first stream passes.
    passes: u64,
    /// Mean duration of each step of each service, in seconds; 0 if it has none.
    spans: Vec<Vec<f64>>,
}

#[derive(Debug)]
struct Load {
    service: usize,
    local: u32,
    /// Mean work of a request, in seconds.
    work: f64,
    /// Requests per second that it can do.
    requests: Piecewise,
}

impl Capacity {
    pub(super) fn of(
        scenario: &Scenario,
        services: &[ServicePlan],
        stations: &[StationPlan],
    ) -> Self {
        let spans = scenario.services.iter().map(|service| {
            let mean = |stage: &Stage| stage.time().map_or(0.0, |law| law.mean());
            service.stages.iter().map(mean).collect()
        });
        let spans: Vec<Vec<f64>> = spans.collect();
        let passes = scenario.streams[0].passes();
        let (visits, works) = traffic(services, passes, &spans);
        let loads: Vec<Load> = works
            .into_iter()
            .map(|(service, local, work)| {
                let all = replicas(&services[service], local, stations);
                let requests = Piecewise::combined(&courses(&all), |at| {
                    all.iter().map(|s| s.work(at)).sum::<f64>() / work
                });
                Load { service, local, work, requests }
            })
            .collect();
        let every: Vec<&Piecewise> = loads.iter().map(|load| &load.requests).collect();
        let least = |at| every.iter().map(|curve| curve.at(at)).fold(f64::INFINITY, f64::min);
        let requests = Piecewise::combined(&every, least);
        let total = |load: &Load| load.requests.integral(scenario.seconds);
        let least = (0..loads.len()).min_by(|&a, &b| total(&loads[a]).total_cmp(&total(&loads[b])));
        Self { requests, least, loads, visits, passes, spans }
    }

    /// The stations at which work is counted, one per replica.
    pub(super) fn bottleneck(&self, services: &[ServicePlan]) -> Vec<usize> {
        let Some(load) = self.least.map(|least| &self.loads[least]) else { return Vec::new() };
        let service = &services[load.service];
        (0..service.replicas).map(|replica| service.station(replica, load.local)).collect()
    }

    pub(super) fn work(&self) -> Piecewise {
        let work = self.least.map_or(1.0, |least| self.loads[least].work);
        Piecewise::combined(&[&self.requests], |at| self.requests.at(at) * work)
    }

    /// Work that a rejection costs at the bottleneck: nothing unless the core that rejects is the bottleneck.
    pub(super) fn refusal(&self, services: &[ServicePlan]) -> f64 {
        let rejects_itself =
            |load: &Load| load.service == 0 && services[0].refuses == Some(load.local);
        match self.least {
            Some(least) if rejects_itself(&self.loads[least]) => services[0].refusal,
            _ => 0.0,
        }
    }

    /// Requests in flight at capacity when none waits, over time.
    pub(super) fn knee(&self, services: &[ServicePlan], stations: &[StationPlan]) -> Piecewise {
        let delays =
            services.iter().flat_map(|service| &service.steps).flat_map(|step| match step {
                Step::Delay { factors, .. } => &factors[..],
                _ => &[],
            });
        let all: Vec<&StationPlan> = stations.iter().collect();
        let courses: Vec<&Piecewise> =
            courses(&all).into_iter().chain(delays).chain([&self.requests]).collect();
        Piecewise::combined(&courses, |at| {
            self.requests.at(at) * self.latency(0, services, stations, at, true)
        })
    }

    /// Mean latency of a request that meets no other, in seconds; `held`: until its body is read.
    pub(super) fn latency(
        &self,
        index: usize,
        services: &[ServicePlan],
        stations: &[StationPlan],
        at: f64,
        held: bool,
    ) -> f64 {
        let service = &services[index];
        let (mut latency, mut present) = (0.0, 1.0);
        for _ in 0..service.rounds {
            let spans = service.steps.iter().zip(&self.spans[index]).enumerate();
            for (_, (step, span)) in spans.filter(|(n, _)| self.passes(index, *n)) {
                latency += present
                    * match step {
                        Step::Visit(local) => {
                            span * slowdown(&replicas(service, *local, stations), at)
                        }
                        Step::Delay { factors, .. } => span * factors[0].at(at),
                        Step::Call { service, .. } => {
                            self.latency(*service as usize, services, stations, at, held)
                        }
                        Step::Body { .. } if held => *span,
                        Step::Fail { .. } | Step::Body { .. } => 0.0,
                    };
                if let Step::Fail { share, .. } = step {
                    present *= 1.0 - share.at(at);
                }
            }
        }
        latency
    }

    fn passes(&self, service: usize, step: usize) -> bool {
        service > 0 || ServicePlan::passes(self.passes, step)
    }

    pub(super) fn servers(
        &self,
        services: &[ServicePlan],
        stations: &[StationPlan],
    ) -> Vec<ServerPlan> {
        let every = services.iter().enumerate();
        let servers = every.flat_map(|(index, service)| {
            let latency = |held| self.latency(index, services, stations, 0.0, held);
            let knee = self.requests.at(0.0) * self.visits[index] * latency(true);
            let mean = latency(false);
            (0..service.replicas).map(move |replica| {
                let site = Site {
                    knee: knee * self.share(index, replica, services, stations),
                    cores: cores(service, replica, stations),
                    mean,
                    seed: 0,
                    replica,
                };
                ServerPlan { service: index as u32, replica, site }
            })
        });
        servers.collect()
    }

    /// The share of the service's work that a replica could do at the start.
    fn share(
        &self,
        service: usize,
        replica: u32,
        services: &[ServicePlan],
        stations: &[StationPlan],
    ) -> f64 {
        let tightest = self.loads.iter().filter(|load| load.service == service);
        let tightest = tightest.min_by(|a, b| a.requests.at(0.0).total_cmp(&b.requests.at(0.0)));
        let all = match tightest {
            Some(load) => replicas(&services[service], load.local, stations),
            None => return 1.0 / f64::from(services[service].replicas),
        };
        let total: f64 = all.iter().map(|station| station.work(0.0)).sum();
        all[replica as usize].work(0.0) / total.max(1e-9)
    }
}

/// Visits to each service, and `(service, station, work)` for every station.
fn traffic(
    services: &[ServicePlan],
    passes: u64,
    spans: &[Vec<f64>],
) -> (Vec<f64>, Vec<(usize, u32, f64)>) {
    let mut visits = vec![0.0; services.len()];
    visits[0] = 1.0;
    let mut works: Vec<(usize, u32, f64)> = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let mut present = visits[index];
        let mut work = vec![0.0; service.stations as usize];
        for _ in 0..service.rounds {
            let steps = service.steps.iter().zip(&spans[index]).enumerate();
            let here = |n| index > 0 || ServicePlan::passes(passes, n);
            for (_, (step, span)) in steps.filter(|(n, _)| here(*n)) {
                match step {
                    Step::Visit(local) => work[*local as usize] += present * span,
                    Step::Call { service, .. } => visits[*service as usize] += present,
                    Step::Fail { share, .. } => present *= 1.0 - share.at(0.0),
                    Step::Delay { .. } | Step::Body { .. } => {}
                }
            }
        }
        let reached = work.into_iter().enumerate().filter(|(_, work)| *work > 0.0);
        works.extend(reached.map(|(local, work)| (index, local as u32, work)));
    }
    (visits, works)
}

fn replicas<'a>(
    service: &ServicePlan,
    local: u32,
    stations: &'a [StationPlan],
) -> Vec<&'a StationPlan> {
    (0..service.replicas).map(|replica| &stations[service.station(replica, local)]).collect()
}

fn courses<'a>(stations: &[&'a StationPlan]) -> Vec<&'a Piecewise> {
    stations.iter().flat_map(|station| [&station.cores, &station.speed, &station.factor]).collect()
}

fn cores(service: &ServicePlan, replica: u32, stations: &[StationPlan]) -> f64 {
    let shown = service.shows.map(|local| &stations[service.station(replica, local)]);
    match shown {
        Some(station) if station.sharing == (Sharing::Fifo { visible: true }) => {
            station.cores.at(0.0)
        }
        _ => UNKNOWN_CORES,
    }
}

/// Mean duration of a visit at capacity over its duration alone. A replica of half the speed gets half as many
/// visits.
fn slowdown(stations: &[&StationPlan], at: f64) -> f64 {
    let there = stations.iter().filter_map(|station| {
        let crowd = station.crowd();
        Some((station.work(at), station.slowdown(at)? * crowd.population / crowd.rate))
    });
    let (work, weighted) = there.fold((0.0, 0.0), |(work, weighted), (each, slowdown)| {
        (work + each, weighted + each * slowdown)
    });
    if work > 0.0 { weighted / work } else { stations[0].factor.at(at) }
}

/// How many jobs a station serves at once at its best, and how much they get done together.
#[derive(Clone, Copy)]
struct Crowd {
    population: f64,
    rate: f64,
}

impl StationPlan {
    /// Seconds of work per second.
    fn work(&self, at: f64) -> f64 {
        let together = match self.sharing {
            Sharing::Shared { kappa, .. } if kappa > 0.0 => self.crowd().rate,
            _ => self.cores.at(at),
        };
        together * self.speed.at(at) / self.factor.at(at)
    }

    /// Duration of a visit that meets no other over its planned duration; `None`: it never ends.
    pub(super) fn slowdown(&self, at: f64) -> Option<f64> {
        let speed = self.speed.at(at);
        let works = speed > 0.0 && self.cores.at(at) > 0.0;
        works.then(|| self.factor.at(at) / speed)
    }

    fn crowd(&self) -> Crowd {
        let Sharing::Shared { sigma, kappa } = self.sharing else {
            return Crowd { population: 1.0, rate: 1.0 };
        };
        if kappa == 0.0 {
            return Crowd { population: 1.0, rate: 1.0 };
        }
        // n/(1 + σ(n−1) + κn(n−1)) is highest at n = √((1−σ)/κ).
        let best = ((1.0 - sigma) / kappa).sqrt().floor().max(1.0);
        let rate = |n: f64| n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0));
        let population = if rate(best + 1.0) > rate(best) { best + 1.0 } else { best };
        Crowd { population, rate: rate(population) }
    }
}
