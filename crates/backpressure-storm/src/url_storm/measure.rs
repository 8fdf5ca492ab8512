//! One measurement: arrivals, the clients that send them, and all that is to be known about it.

use crate::cpu::CpuTime;
use crate::event_log::{Event, Log};
use crate::generator::send_open_loop;
use crate::machine::{Disturbance, MachineTime};
use crate::url_storm::attempts::{Attempts, ClientKind, Clients};
use crate::url_storm::connections::Connections;
use crate::url_storm::dial::Dialer;
use crate::url_storm::options::UrlOptions;
use crate::url_storm::service_process::ServiceProcesses;
use crate::url_storm::tally::{Kept, Tally};
use crate::url_storm::target::Target;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::Instant;

/// What every measurement needs.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) options: UrlOptions,
    pub(crate) target: Arc<Target>,
    pub(crate) dialer: Dialer,
    pub(crate) processes: ServiceProcesses,
    /// Most requests on the wire.
    pub(crate) connections: usize,
    pub(crate) number: Arc<AtomicU64>,
}

/// What happened in a measurement.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) events: Vec<Event>,
    pub(crate) kept: Kept,
    /// How late the generator sent what was due, 99th percentile.
    pub(crate) lag: Duration,
    /// In CPUs.
    pub(crate) generator_cpu: f64,
    /// In CPUs, where the service is on this machine and could be found.
    pub(crate) service_cpu: Option<f64>,
    /// What others took; `None` where they cannot be told from the service.
    pub(crate) disturbance: Option<Disturbance>,
}

/// Share of a CPU above which the generator, which has one thread, may be what is measured.
const GENERATOR_FULL: f64 = 0.9;

impl Observed {
    /// Whether the generator was the bottleneck, so that this says little about the service.
    pub(crate) fn generator_limited(&self, deadline: Duration) -> bool {
        self.lag > deadline / 4 || self.generator_cpu > GENERATOR_FULL
    }

    pub(crate) fn is_disturbed(&self) -> bool {
        self.disturbance.is_some_and(|disturbance| disturbance.is_disturbing(cpus()))
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Lab {
    pub(crate) fn attempts(
        &self,
        deadline: Duration,
        log: Arc<Log>,
        tally: Arc<Tally>,
    ) -> Attempts {
        Attempts {
            connections: Connections::new(
                self.dialer.clone(),
                self.connections,
                self.options.expect.clone(),
            ),
            target: Arc::clone(&self.target),
            deadline,
            log,
            tally,
            number: Arc::clone(&self.number),
        }
    }

    /// Sends the requests, each once without a kind of client, and waits until `end`.
    pub(crate) async fn measure(
        &self,
        kind: Option<ClientKind>,
        deadline: Duration,
        arrivals: &[Duration],
        end: Duration,
    ) -> io::Result<Observed> {
        let log = Arc::new(Log::starting(Instant::now() + Duration::from_millis(5)));
        let tally = Arc::new(Tally::default());
        let attempts = self.attempts(deadline, Arc::clone(&log), Arc::clone(&tally));
        let clients = kind
            .map_or_else(|| Clients::Once(attempts.clone()), |kind| Clients::of(kind, &attempts));
        let before = Clocks::now(self);
        let lag = send_open_loop(&clients, arrivals, end, &log).await?;
        let used = Clocks::now(self).since(&before, &self.processes, self.is_local());
        Ok(Observed {
            events: log.take(),
            kept: tally.take(),
            lag,
            generator_cpu: used.0,
            service_cpu: used.1,
            disturbance: used.2,
        })
    }

    pub(crate) fn is_local(&self) -> bool {
        self.dialer.address().ip().to_canonical().is_loopback()
    }
}

/// The clocks of this process, of the service and of the machine.
struct Clocks {
    at: Instant,
    own: CpuTime,
    service: Duration,
    machine: Option<MachineTime>,
}

impl Clocks {
    fn now(lab: &Lab) -> Self {
        Self {
            at: Instant::now(),
            own: CpuTime::now(),
            service: lab.processes.cpu_time(),
            machine: MachineTime::now(&[]),
        }
    }

    /// CPUs of the generator and of the service, and what others took.
    fn since(
        &self,
        before: &Self,
        processes: &ServiceProcesses,
        local: bool,
    ) -> (f64, Option<f64>, Option<Disturbance>) {
        let elapsed = self.at.duration_since(before.at);
        let own = self.own.since(before.own);
        let service = self.service.saturating_sub(before.service);
        let over = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON);
        let known = processes.is_known() || !local;
        let disturbance =
            self.machine.zip(before.machine).filter(|_| known).map(|(now, earlier)| {
                now.disturbance(earlier, own.generator + own.server + service, elapsed)
            });
        (over(own.generator), processes.is_known().then(|| over(service)), disturbance)
    }
}
