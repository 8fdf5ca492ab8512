//! Compiles the stages of a scenario into steps and stations.

use backpressure_core::Outcome;

use crate::piecewise::Piecewise;
use crate::scenario::Scenario;
use crate::scenario::service::{Failure, Service, Stage};

use super::{ServicePlan, Sharing, StationPlan, Step};

pub(super) fn compile(scenario: &Scenario) -> (Vec<ServicePlan>, Vec<StationPlan>) {
    let (mut services, mut stations, mut servers) = (Vec::new(), Vec::new(), 0);
    for service in &scenario.services {
        let first_station = stations.len() as u32;
        for replica in 0..service.replicas {
            let here = service.stages.iter();
            stations.extend(here.filter_map(|stage| station(stage, replica, scenario.seconds)));
        }
        let count = (stations.len() as u32 - first_station) / service.replicas;
        services.push(ServicePlan {
            replicas: service.replicas,
            balance: service.balance,
            rounds: service.rounds as u16,
            refusal: service.refusal,
            first_server: servers,
            first_station,
            stations: count,
            steps: steps(service, scenario),
            refuses: position(service, |stage| matches!(stage, Stage::Fifo { .. })),
            shows: position(service, |stage| matches!(stage, Stage::Fifo { visible: true, .. }))
                .or_else(|| position(service, |stage| matches!(stage, Stage::Fifo { .. }))),
        });
        servers += service.replicas;
    }
    (services, stations)
}

/// Index of the first station of the service that `fits`.
fn position(service: &Service, fits: impl Fn(&Stage) -> bool) -> Option<u32> {
    let stations = service.stages.iter().filter(|stage| stage.is_station());
    stations.enumerate().find(|(_, stage)| fits(stage)).map(|(n, _)| n as u32)
}

fn steps(service: &Service, scenario: &Scenario) -> Vec<Step> {
    let mut visits = 0..;
    let step = |stage: &Stage| match stage {
        Stage::Delay { time, .. } => Step::Delay {
            draw: time.prepare(),
            factors: (0..service.replicas).map(|replica| stage.varying().factor(replica)).collect(),
        },
        Stage::Call { service, attempts, after } => {
            let called = scenario.services.iter().position(|other| other.name == *service);
            let service = called.expect("checked: it calls a service of the scenario") as u32;
            Step::Call { service, attempts: *attempts, after: *after }
        }
        Stage::Fail { share, failure, .. } => Step::Fail {
            share: stage.varying().share(*share),
            outcome: match failure {
                Failure::Error => Outcome::Failure,
                Failure::Overload => Outcome::Overload,
            },
        },
        Stage::Body { time } => Step::Body { draw: time.prepare() },
        _ => Step::Visit(visits.next().unwrap_or(0)),
    };
    service.stages.iter().map(step).collect()
}

fn station(stage: &Stage, replica: u32, seconds: f64) -> Option<StationPlan> {
    let varying = stage.varying();
    let (sharing, cores) = match *stage {
        Stage::Fifo { cores, visible, .. } => {
            (Sharing::Fifo { visible }, varying.cores(replica, cores))
        }
        Stage::Slots { slots, .. } => {
            (Sharing::Fifo { visible: false }, varying.cores(replica, slots))
        }
        Stage::Ps { cores, .. } => {
            (Sharing::Shared { sigma: 0.0, kappa: 0.0 }, varying.cores(replica, cores))
        }
        Stage::Usl { sigma, kappa, .. } => {
            (Sharing::Shared { sigma, kappa }, Piecewise::constant(f64::INFINITY))
        }
        _ => return None,
    };
    Some(StationPlan {
        sharing,
        cores,
        speed: varying.speed(replica, seconds),
        factor: varying.factor(replica),
        draw: stage.time()?.prepare(),
        counts: false,
    })
}
