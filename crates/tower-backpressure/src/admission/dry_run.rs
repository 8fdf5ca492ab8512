//! A dry run of the queue: a request that would wait runs at once, while its ticket waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::switches::{Switches, Uncounted};
use crate::limiter::{Acquire, Limiter, Permit};
use crate::observe::Telemetry;

/// The ticket of a request that is running already.
///
/// Its position in the queue is real, so that the queue fills, empties and is cut short as it would.
/// If the response comes first, the request counts as admitted: it was not rejected by then. It has not waited itself,
/// whatever its ticket did.
#[derive(Debug)]
pub(crate) struct DryRun {
    acquire: Pin<Box<Acquire>>,
    limiter: Limiter,
    telemetry: Telemetry,
    switches: Switches,
    decided: bool,
}

impl DryRun {
    pub(crate) fn new(
        acquire: Acquire,
        limiter: Limiter,
        telemetry: Telemetry,
        switches: Switches,
    ) -> Self {
        Self { acquire: Box::pin(acquire), limiter, telemetry, switches, decided: false }
    }

    /// Ready when the limiter has decided: a permit, or none where the request would be rejected.
    ///
    /// The permit is not measured: its request has been running since before it was admitted.
    pub(crate) fn poll_decision(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, Uncounted>> {
        let decision = ready!(self.acquire.as_mut().poll(cx));
        self.decided = true;
        Poll::Ready(match decision {
            Ok(mut permit) => {
                permit.skip_measurement();
                self.telemetry.would_admit(&self.limiter, Duration::ZERO);
                Ok(permit)
            }
            Err(shed) => {
                self.telemetry.would_reject(shed, &self.limiter, Instant::now());
                Err(self.switches.uncounted())
            }
        })
    }

    /// The request runs on without its ticket.
    pub(crate) fn uncounted(&self) -> Uncounted {
        self.switches.uncounted()
    }
}

impl Drop for DryRun {
    fn drop(&mut self) {
        if !self.decided {
            self.telemetry.would_admit(&self.limiter, Duration::ZERO);
        }
    }
}
