//! The limit of one origin, as a route knows it that depends on the origin.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{HandlerWindow, Priority, Shed, Timestamp};
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
    /// Those that run, by the priority of their requests, of the present generation and those before. Older ones are
    /// taken to hang.
    running: [[AtomicUsize; GENERATIONS]; PRIORITIES],
    generation: AtomicUsize,
    window: Mutex<Window>,
    /// Whether the window bounds anything at present.
    is_bounding: AtomicBool,
    epoch: Instant,
}

#[derive(Default)]
struct Window {
    handlers: HandlerWindow,
    /// When the present generation began.
    turned: Timestamp,
}

/// A handler that runs, until it is dropped.
pub(in crate::client) struct RunningHandler {
    handlers: Arc<Handlers>,
    priority: Priority,
    generation: usize,
    started: Instant,
}

const PRIORITIES: usize = Priority::Critical as usize + 1;
/// With two, half of all handlers that hang were forgotten at one moment, as many others started, and the queue was full
/// when they called.
const GENERATIONS: usize = 8;

impl OriginLimitLayer {
    /// The limit of an origin, which is made if there is none yet.
    pub(in crate::client) fn know(&self, origin: &Uri) -> KnownLimit {
        KnownLimit(Arc::new(Handlers {
            policy: self.origins.policy(OriginKey::of_uri(origin)),
            running: Default::default(),
            generation: AtomicUsize::new(0),
            window: Mutex::default(),
            is_bounding: AtomicBool::new(false),
            epoch: Instant::now(),
        }))
    }
}

impl KnownLimit {
    /// Starts a handler; `paced`: under overload only when one has ended. Only those that are paced are counted.
    ///
    /// # Errors
    /// The rejection of a request whose call would be rejected, which counts as one of this layer. Any call that may
    /// be exempt passes.
    pub(in crate::client) fn start(
        &self,
        info: RequestInfo,
        paced: bool,
    ) -> Result<Option<RunningHandler>, Shed> {
        let handlers = &self.0;
        let Policy { limiter, switches, telemetry, .. } = &*handlers.policy;
        let now = Instant::now();
        if !switches.exempts_some() {
            let unpaced = limiter.reject_early(info, now);
            let shed = unpaced.or_else(|| paced.then(|| handlers.reject(info, now)).flatten());
            match shed {
                Some(shed) if switches.is_dry_run() => telemetry.would_reject(shed, limiter, now),
                Some(shed) => {
                    telemetry.rejected(shed, limiter, now, Duration::ZERO);
                    return Err(shed);
                }
                None => {}
            }
        }
        Ok(paced.then(|| {
            let generation = handlers.generation.load(Relaxed);
            handlers.of(info.priority, generation).fetch_add(1, Relaxed);
            let handlers = Arc::clone(handlers);
            RunningHandler { handlers, priority: info.priority, generation, started: now }
        }))
    }
}

impl Handlers {
    fn of(&self, priority: Priority, generation: usize) -> &AtomicUsize {
        &self.running[priority as usize][generation % GENERATIONS]
    }

    /// Begins a generation when all before the present one together are as old as a handler that hangs.
    fn turn(&self, window: &mut Window, now: Timestamp) {
        let Some(hangs_after) = window.handlers.hangs_after() else {
            // Those that run now are not older than what is to be known.
            window.turned = now;
            return;
        };
        let length = hangs_after / (GENERATIONS - 1) as u32;
        for _ in 0..GENERATIONS {
            if now.since(window.turned) < length {
                return;
            }
            window.turned = window.turned + length;
            let next = self.generation.load(Relaxed).wrapping_add(1);
            self.running.iter().for_each(|running| running[next % GENERATIONS].store(0, Relaxed));
            self.generation.store(next, Relaxed);
        }
        window.turned = now;
    }

    /// Handlers of requests of this priority and above.
    fn running(&self, priority: Priority) -> usize {
        let from = self.running[priority as usize..].iter().flatten();
        from.map(|running| running.load(Relaxed)).sum()
    }

    /// Rejects a request whose call would find the queue full when it came there.
    fn reject(&self, info: RequestInfo, now: Instant) -> Option<Shed> {
        let backlog = self.policy.limiter.backlog(now);
        if backlog.is_none() && !self.is_bounding.load(Relaxed) {
            return None;
        }
        let (mut window, at) = (self.window(), self.timestamp(now));
        self.turn(&mut window, at);
        let admits = window.handlers.admits(self.running(info.priority), backlog, at);
        self.is_bounding.store(window.handlers.is_bounding(), Relaxed);
        drop(window);
        (!admits).then(|| self.policy.limiter.reject_on_the_way(info, now))
    }

    fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.epoch)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningHandler {
    fn drop(&mut self) {
        let Self { handlers, priority, generation, started } = self;
        let is_bounding = handlers.is_bounding.load(Relaxed);
        let running = is_bounding.then(|| handlers.running(Priority::Sheddable));
        if handlers.generation.load(Relaxed).wrapping_sub(*generation) < GENERATIONS {
            // A generation that has just begun may have forgotten it.
            let one_less = |running: usize| running.checked_sub(1);
            let _ = handlers.of(*priority, *generation).fetch_update(Relaxed, Relaxed, one_less);
        }
        if let Some(running) = running {
            let now = Instant::now();
            if let Some(backlog) = handlers.policy.limiter.backlog(now) {
                handlers.window().handlers.ended(running, now.duration_since(*started), backlog);
            }
        }
    }
}

impl fmt::Debug for KnownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownLimit").field(&self.0.policy.limiter).finish()
    }
}
