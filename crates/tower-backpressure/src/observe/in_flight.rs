//! A request in flight, as the metrics, the registry and an observer see it.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::metrics;
use super::nesting::{Inside, enter};
use super::observer::{Event, Observer};
use super::stats::Timing;

/// A request in flight, until dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    counted: metrics::InFlight,
    /// `None`: nothing else is measured of it.
    followed: Option<Box<Followed>>,
}

/// What is measured of a request beside its metrics.
#[derive(Debug)]
pub(super) struct Followed {
    /// `None`: it is not timed, or there is a response.
    timing: Option<Timing>,
    end: Option<End>,
    /// The number of its layer.
    layer: u64,
}

/// Tells an observer of the end of a request, when it is dropped.
pub(super) struct End {
    observer: Arc<dyn Observer>,
    policy: Arc<str>,
    since: Instant,
    answered: bool,
}

impl InFlight {
    #[inline(always)]
    pub(super) fn new(counted: metrics::InFlight, followed: Option<Box<Followed>>) -> Self {
        Self { counted, followed }
    }

    /// The service has responded, or failed.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.counted.answered();
        if let Some(followed) = &mut self.followed {
            followed.answered();
        }
    }

    /// The service inside is polled until what is returned is dropped; `None`: the request is not followed.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Inside> {
        self.followed.as_ref().map(|followed| enter(followed.layer))
    }

    /// Marks that say "not begun" were removed from the response.
    pub(crate) fn marks_removed(&self) {
        self.counted.marks_removed();
        if let Some(End { observer, policy, .. }) =
            self.followed.as_ref().and_then(|it| it.end.as_ref())
        {
            observer.observe(policy, Event::MarkRemoved);
        }
    }

    /// Moves the count into another value.
    pub(crate) fn take(&mut self) -> Self {
        Self { counted: self.counted.take(), followed: self.followed.take() }
    }
}

impl Followed {
    pub(super) fn new(timing: Option<Timing>, end: Option<End>, layer: u64) -> Box<Self> {
        Box::new(Self { timing, end, layer })
    }

    #[cold]
    fn answered(&mut self) {
        if let Some(timing) = self.timing.take() {
            timing.record();
        }
        if let Some(end) = &mut self.end {
            end.answered = true;
        }
    }
}

impl End {
    /// `None`: the observer does not want to be told.
    pub(super) fn of(observer: &Arc<dyn Observer>, policy: &Arc<str>) -> Option<Self> {
        observer.observes_ends().then(|| Self {
            observer: Arc::clone(observer),
            policy: Arc::clone(policy),
            since: Instant::now(),
            answered: false,
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (held, answered) = (self.since.elapsed(), self.answered);
        self.observer.observe(&self.policy, Event::Ended { held, answered });
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("policy", &self.policy).finish_non_exhaustive()
    }
}
