//! Readiness for load balancers, with hysteresis.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backpressure_core::Mode;
use tokio::time::Instant;

use crate::limiter::Limiter;

/// Whether a load balancer should send requests here: the answer of a readiness probe.
///
/// It is *no* at once while the layer is drained or stopped. It also becomes *no* when every probe of the last
/// 30 s found the layer overloaded, and *yes* again when every probe of 5 s found it not overloaded. A probe that
/// answers by the moment would take a service out and put it back with each burst.
///
/// The instances that are left get the load of one that is taken out. Where all of them are overloaded, that
/// takes out one after the other: give the probe to a balancer that keeps a share of its instances whatever
/// they say, or use [`ignoring_overload`](Self::ignoring_overload). Rejections and their `Retry-After` protect
/// the service in any case.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::get};
/// use std::sync::Arc;
/// use tower_backpressure::AdmissionLayer;
///
/// let admission = AdmissionLayer::adaptive("api").exempt(|head| head.uri.path() == "/ready");
/// let readiness = Arc::new(admission.handle().readiness());
/// let probe = move || {
///     let is_ready = readiness.is_ready();
///     async move { if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE } }
/// };
/// let app: Router = Router::new().route("/ready", get(probe)).layer(admission);
/// ```
#[derive(Debug)]
pub struct Readiness {
    limiter: Limiter,
    unready_after: Option<Duration>,
    ready_after: Duration,
    state: Mutex<State>,
}

/// What the probes so far have found.
#[derive(Debug)]
struct State {
    is_ready: bool,
    /// Since when all probes have found the opposite of `is_ready`; `None`: the last one did not.
    opposed_since: Option<Instant>,
}

/// Overload lasts for this long before an instance is taken out: longer than a burst, or than new instances
/// need to start where a scaler reacts to the same load.
const UNREADY_AFTER: Duration = Duration::from_secs(30);
/// An instance without load is not overloaded: soon after it is taken out it has to be tried again.
const READY_AFTER: Duration = Duration::from_secs(5);

impl Readiness {
    pub(super) fn new(limiter: Limiter) -> Self {
        let state = Mutex::new(State { is_ready: true, opposed_since: None });
        Self { limiter, unready_after: Some(UNREADY_AFTER), ready_after: READY_AFTER, state }
    }

    /// How long overload lasts before the answer is *no*, and how long its absence before it is *yes*.
    #[must_use]
    pub fn after(mut self, unready_after: Duration, ready_after: Duration) -> Self {
        (self.unready_after, self.ready_after) = (Some(unready_after), ready_after);
        self
    }

    /// *No* only while the layer is drained or stopped.
    #[must_use]
    pub fn ignoring_overload(mut self) -> Self {
        self.unready_after = None;
        self
    }

    /// The answer to a probe that asks now.
    pub fn is_ready(&self) -> bool {
        let now = self.limiter.snapshot();
        let is_stopped = matches!(now.mode, Mode::Draining | Mode::Stopped);
        let Some(unready_after) = self.unready_after else { return !is_stopped };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.probed(!now.overloaded, unready_after, self.ready_after, Instant::now());
        state.is_ready && !is_stopped
    }
}

impl State {
    fn probed(
        &mut self,
        found_ready: bool,
        unready_after: Duration,
        ready_after: Duration,
        now: Instant,
    ) {
        if found_ready == self.is_ready {
            self.opposed_since = None;
            return;
        }
        let since = *self.opposed_since.get_or_insert(now);
        let needed = if self.is_ready { unready_after } else { ready_after };
        if now.saturating_duration_since(since) >= needed {
            (self.is_ready, self.opposed_since) = (found_ready, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_answer_changes_only_after_all_probes_of_a_time_agree() {
        let mut state = State { is_ready: true, opposed_since: None };
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut probe = |at: u32, found_ready| {
            state.probed(found_ready, 30 * second, 5 * second, start + at * second);
            state.is_ready
        };
        assert!(probe(0, false) && probe(29, false), "not for long enough");
        assert!(probe(29, true) && probe(30, false), "a moment without overload starts it anew");
        assert!(probe(59, false) && !probe(60, false));
        assert!(!probe(61, true) && !probe(65, true) && probe(66, true));
    }
}
