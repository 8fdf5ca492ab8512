//! What an operator can switch off: the limit for all requests (dry run) or for some (exempt).

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use http::Request;
use http::request::Parts;

use super::stream_rules::StreamRules;
use crate::observe::StreamCount;

/// The switches of one layer.
#[derive(Clone, Default)]
pub(crate) struct Switches {
    /// As configured; an operator may override it.
    pub(crate) dry_run: bool,
    /// How many rejected requests at once are passed on to the service inside, with a
    /// [`Shed`](backpressure_core::Shed) in their extensions.
    pub(crate) max_passed_on: usize,
    /// Whether admitted requests carry a [`Pressure`](crate::Pressure).
    pub(crate) exposes_pressure: bool,
    /// Whether admitted requests carry a [`PermitHandle`](crate::PermitHandle).
    pub(crate) exposes_permit: bool,
    pub(crate) streams: Option<Arc<StreamRules>>,
    exempt: Option<Arc<Predicate>>,
    /// Keeps the handle of the layer alive for those that find it by name.
    handle: Option<Arc<dyn Any + Send + Sync>>,
    shared: Arc<SwitchState>,
}

/// What an operator changes while the layer runs, and what holds no permit.
#[derive(Debug, Default)]
struct SwitchState {
    /// 0: as configured; 1: off; 2: on.
    dry_run: AtomicU8,
    /// Requests in flight that hold no permit.
    uncounted: AtomicUsize,
    /// Those of them that were rejected and passed on.
    passed_on: AtomicUsize,
    /// Streams that hold no permit, and are not among those.
    streams: AtomicUsize,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// A stream that holds no permit.
#[derive(Debug)]
pub(crate) struct Stream(Arc<SwitchState>);

/// A stream, and its count in the metrics.
pub(super) type CountedStream = (Stream, StreamCount);

/// A request in flight that holds no permit.
#[derive(Debug)]
pub(crate) struct Uncounted {
    state: Arc<SwitchState>,
    is_passed_on: bool,
}

impl Switches {
    /// The same, keeping the handle of their layer alive.
    pub(crate) fn registered(self, handle: impl Any + Send + Sync) -> Self {
        Self { handle: Some(Arc::new(handle)), ..self }
    }

    /// The options of a new layer, for what is counted and switched already.
    #[cfg(feature = "policy")]
    pub(crate) fn with_default_options(&self) -> Self {
        let (handle, shared) = (self.handle.clone(), Arc::clone(&self.shared));
        Self { handle, shared, ..Self::default() }
    }

    pub(crate) fn exempting(
        self,
        predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { exempt: Some(Arc::new(predicate)), ..self }
    }

    /// Whether requests that would be rejected run.
    pub(crate) fn is_dry_run(&self) -> bool {
        match self.shared.dry_run.load(Ordering::Relaxed) {
            0 => self.dry_run,
            set => set == 2,
        }
    }

    /// Overrides what is configured, for all clones of these switches.
    pub(crate) fn set_dry_run(&self, dry_run: bool) {
        self.shared.dry_run.store(1 + u8::from(dry_run), Ordering::Relaxed);
    }

    /// Whether a request may be exempt, or gets more than a permit.
    #[inline]
    pub(crate) const fn are_in_use(&self) -> bool {
        self.exempt.is_some() || self.has_extras()
    }

    /// Whether requests or responses of this layer get more than a permit.
    #[inline]
    pub(crate) const fn has_extras(&self) -> bool {
        self.exposes_pressure || self.exposes_permit || self.streams.is_some()
    }

    /// Whether any request may be exempt.
    #[cfg(feature = "client")]
    pub(crate) const fn exempts_some(&self) -> bool {
        self.exempt.is_some()
    }

    /// The request, and whether it is exempt. `Parts` cannot borrow, so the head moves out and back.
    #[inline]
    pub(crate) fn check_exempt<B>(&self, request: Request<B>) -> (Request<B>, bool) {
        let Some(predicate) = &self.exempt else { return (request, false) };
        let (parts, body) = request.into_parts();
        let exempt = predicate(&parts);
        (Request::from_parts(parts, body), exempt)
    }

    /// Counts a request that the limiter does not count.
    pub(crate) fn uncounted(&self) -> Uncounted {
        self.shared.uncounted.fetch_add(1, Ordering::Relaxed);
        Uncounted { state: Arc::clone(&self.shared), is_passed_on: false }
    }

    /// Counts a rejected request that is passed on, if there may be one more.
    pub(crate) fn pass_on(&self) -> Option<Uncounted> {
        if self.max_passed_on == 0 {
            return None;
        }
        let mut uncounted = self.uncounted();
        uncounted.is_passed_on = true;
        let before = self.shared.passed_on.fetch_add(1, Ordering::Relaxed);
        (before < self.max_passed_on).then_some(uncounted)
    }

    /// Counts a stream, unless there are `max`.
    pub(crate) fn stream(&self, max: usize) -> Option<Stream> {
        let stream = Stream(Arc::clone(&self.shared));
        let before = self.shared.streams.fetch_add(1, Ordering::Relaxed);
        (before < max).then_some(stream)
    }

    /// Streams that hold no permit.
    pub(crate) fn stream_count(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed)
    }

    /// Such requests in flight.
    pub(crate) fn count(&self) -> usize {
        self.shared.uncounted.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        self.state.uncounted.fetch_sub(1, Ordering::Relaxed);
        if self.is_passed_on {
            self.state.passed_on.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exempts = self.exempt.is_some();
        f.debug_struct("Switches")
            .field("dry_run", &self.is_dry_run())
            .field("exempts", &exempts)
            .field("uncounted", &self.count())
            .field("has_handle", &self.handle.is_some())
            .finish()
    }
}
