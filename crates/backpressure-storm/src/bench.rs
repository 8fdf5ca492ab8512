//! What every run needs: a server, a pool of connections to it, and a client on top of them.

use crate::client::Attempts;
use crate::cpu::{self, AllowedCpus};
use crate::event_log::Log;
use crate::handler::{Handler, Work};
use crate::machine::MachineTime;
use crate::pool::Pool;
use crate::server::Server;
use crate::timing::Timing;
use axum::Router;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bounds the connections. More than ten times the capacity fits within one deadline on any machine whose
/// handler takes 5 ms.
const MOST_CONNECTIONS: usize = 4000;

/// One for the server and one for the load.
pub(crate) const CPUS_OF_THE_STORM: usize = 2;

/// The environment in which services are measured.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) timing: Timing,
    pub(crate) connections: usize,
    pub(crate) allowed: AllowedCpus,
    pub(crate) work: Arc<Work>,
}

impl Bench {
    /// Calibrates the work on the CPU of the server, then moves the calling thread to the other CPU.
    pub(crate) fn set_up(timing: Timing) -> Self {
        let allowed = AllowedCpus::read();
        cpu::pin(cpu::Side::Server, &allowed);
        let work = Arc::new(Work::calibrate());
        cpu::pin(cpu::Side::Generator, &allowed);
        Self { timing, connections: cpu::raise_open_files().min(MOST_CONNECTIONS), allowed, work }
    }

    /// Time on the CPUs of the storm.
    pub(crate) fn machine_time(&self) -> Option<MachineTime> {
        MachineTime::now(&self.allowed.of_both_sides())
    }

    pub(crate) fn router(&self, handler: Handler) -> Router {
        handler.router(Arc::clone(&self.work))
    }

    pub(crate) async fn serve(&self, router: impl FnOnce() -> Router) -> io::Result<Server> {
        self.serve_on(0, router).await
    }

    pub(crate) async fn serve_on(
        &self,
        port: u16,
        router: impl FnOnce() -> Router,
    ) -> io::Result<Server> {
        Server::start(port, router, &self.allowed).await
    }

    pub(crate) fn attempts(&self, server: &Server, patience: Duration, log: &Arc<Log>) -> Attempts {
        Attempts::new(Pool::new(server.address, self.connections), patience, Arc::clone(log))
    }

    /// A log that starts a moment from now, so that the first request is sent in time.
    pub(crate) fn log() -> Arc<Log> {
        Arc::new(Log::starting(Instant::now() + Duration::from_millis(5)))
    }
}
