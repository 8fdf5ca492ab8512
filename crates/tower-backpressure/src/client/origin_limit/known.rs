//! The limit of one origin, as a route knows it that depends on the origin.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{HandlerWindow, Priority, Shed};
use http::Uri;
use tokio::time::Instant;

use super::OriginLimitLayer;
use crate::admission::Policy;
use crate::client::origin_key::OriginKey;
use crate::request_info::RequestInfo;

/// The limit of one origin. It is not forgotten while this is alive.
#[derive(Clone)]
pub(in crate::client) struct KnownLimit(Arc<Handlers>);

/// The handlers that call an origin.
struct Handlers {
    policy: Arc<Policy>,
    /// Those that run, by the priority of their requests.
    running: [AtomicUsize; PRIORITIES],
    window: Mutex<HandlerWindow>,
    /// Whether the window bounds anything at present.
    is_bounding: AtomicBool,
}

/// A handler that runs, until it is dropped.
pub(in crate::client) struct RunningHandler {
    handlers: Arc<Handlers>,
    priority: Priority,
}

const PRIORITIES: usize = Priority::Critical as usize + 1;

impl OriginLimitLayer {
    /// The limit of an origin, which is made if there is none yet.
    pub(in crate::client) fn know(&self, origin: &Uri) -> KnownLimit {
        KnownLimit(Arc::new(Handlers {
            policy: self.origins.policy(OriginKey::of_uri(origin)),
            running: Default::default(),
            window: Mutex::default(),
            is_bounding: AtomicBool::new(false),
        }))
    }
}

impl KnownLimit {
    /// Starts a handler.
    ///
    /// # Errors
    /// The rejection of a request whose call would be rejected, which counts as one of this layer. Any call that may
    /// be exempt passes.
    pub(in crate::client) fn start(&self, info: RequestInfo) -> Result<RunningHandler, Shed> {
        let handlers = &self.0;
        let Policy { limiter, switches, telemetry, .. } = &*handlers.policy;
        if !switches.exempts_some() {
            let now = Instant::now();
            let shed = limiter.reject_early(info, now).or_else(|| handlers.reject(info, now));
            match shed {
                Some(shed) if switches.is_dry_run() => telemetry.would_reject(shed, limiter, now),
                Some(shed) => {
                    telemetry.rejected(shed, limiter, now, Duration::ZERO);
                    return Err(shed);
                }
                None => {}
            }
        }
        handlers.of(info.priority).fetch_add(1, Relaxed);
        Ok(RunningHandler { handlers: Arc::clone(handlers), priority: info.priority })
    }
}

impl Handlers {
    fn of(&self, priority: Priority) -> &AtomicUsize {
        &self.running[priority as usize]
    }

    /// Handlers of requests of this priority and above.
    fn running(&self, priority: Priority) -> usize {
        self.running[priority as usize..].iter().map(|running| running.load(Relaxed)).sum()
    }

    /// Rejects a request whose call would find the queue full when it came there.
    fn reject(&self, info: RequestInfo, now: Instant) -> Option<Shed> {
        let backlog = self.policy.limiter.backlog(now);
        if backlog.is_none() && !self.is_bounding.load(Relaxed) {
            return None;
        }
        let mut window = self.window();
        let admits = match backlog {
            Some(backlog) => window.admits(self.running(info.priority), backlog),
            None => {
                *window = HandlerWindow::new();
                true
            }
        };
        self.is_bounding.store(window.is_bounding(), Relaxed);
        drop(window);
        (!admits).then(|| self.policy.limiter.reject_on_the_way(info, now))
    }

    fn window(&self) -> MutexGuard<'_, HandlerWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningHandler {
    fn drop(&mut self) {
        let handlers = &self.handlers;
        let running = handlers.running(Priority::Sheddable);
        handlers.of(self.priority).fetch_sub(1, Relaxed);
        if handlers.is_bounding.load(Relaxed) {
            if let Some(backlog) = handlers.policy.limiter.backlog(Instant::now()) {
                handlers.window().ended(running, backlog);
            }
        }
    }
}

impl fmt::Debug for KnownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownLimit").field(&self.0.policy.limiter).finish()
    }
}
