//! A handler's hold on its own permit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::admission::switches::{CountedStream, Switches, Uncounted};
use crate::limiter::Permit;
use crate::observe::InFlight;

/// A handler's hold on the permit of its own request, in the request's extensions: see
/// [`AdmissionLayer::expose_permit`](crate::AdmissionLayer::expose_permit).
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use tower_backpressure::{AdmissionLayer, PermitHandle};
///
/// /// Waits for an event, for up to a minute, and does nothing meanwhile.
/// async fn long_poll(Extension(permit): Extension<PermitHandle>) -> &'static str {
///     permit.release();
///     tokio::time::sleep(std::time::Duration::from_secs(60)).await;
///     "nothing new"
/// }
///
/// /// Answers at once, while the work goes on.
/// async fn report(Extension(permit): Extension<PermitHandle>) -> &'static str {
///     let held = permit.hold();
///     tokio::task::spawn_blocking(move || {
///         // The work, which may outlive its caller.
///         drop(held);
///     });
///     "it will be ready in a minute"
/// }
///
/// let app: Router = Router::new()
///     .route("/events", get(long_poll))
///     .route("/report", get(report))
///     .layer(AdmissionLayer::adaptive("api").expose_permit(true));
/// ```
///
/// It has an effect until the head of the response is ready. Later, or where a request holds no permit, as one
/// that is exempt, both methods do nothing. It does not keep the permit by itself, wherever it is moved.
#[derive(Clone, Debug)]
pub struct PermitHandle {
    slot: Weak<Slot>,
}

/// Keeps a request's permit, until dropped: see [`PermitHandle::hold`].
#[derive(Debug)]
#[must_use = "the permit is held until this is dropped"]
pub struct HeldPermit {
    _slot: Option<Arc<Slot>>,
}

/// A permit that a handler can reach.
#[derive(Debug)]
pub(super) struct SharedPermit {
    slot: Arc<Slot>,
}

#[derive(Debug)]
pub(super) struct Slot(Mutex<Content>);

/// What ends with the last owner.
#[derive(Debug)]
pub(super) struct Content {
    /// `None` while the request's future is polled, and after a release.
    pub(super) permit: Option<Permit>,
    pub(super) in_flight: InFlight,
    pub(super) stream: Option<CountedStream>,
    /// Counts the request while it runs on without its permit.
    pub(super) uncounted: Option<Uncounted>,
    switches: Switches,
    released: bool,
    held: bool,
}

impl PermitHandle {
    /// Releases the permit now: from here on the request does no work that the limit should know of. Its
    /// latency teaches the limit nothing. The request is in flight to its end, and a drain waits for it.
    pub fn release(&self) {
        let Some(slot) = self.slot.upgrade() else { return };
        let permit = {
            let mut content = slot.lock();
            if !content.released {
                content.released = true;
                content.uncounted = Some(content.switches.uncounted());
            }
            content.permit.take()
        };
        drop_unmeasured(permit);
    }

    /// Keeps the permit until the returned value is dropped, and until the end of the response in any case:
    /// for work on a spawned task or a blocking thread, and for an upgraded connection. The permit counts
    /// towards the limit all that time, whether or not it shows signs of work.
    pub fn hold(&self) -> HeldPermit {
        let slot = self.slot.upgrade();
        if let Some(slot) = &slot {
            let mut content = slot.lock();
            content.held = true;
            if let Some(permit) = &mut content.permit {
                permit.counts_until_released();
            }
        }
        HeldPermit { _slot: slot }
    }

    /// Of a request without a permit.
    pub(super) const fn dead() -> Self {
        Self { slot: Weak::new() }
    }
}

impl SharedPermit {
    pub(super) fn new(permit: Permit, in_flight: InFlight, switches: Switches) -> Self {
        let content = Content {
            permit: Some(permit),
            in_flight,
            stream: None,
            uncounted: None,
            switches,
            released: false,
            held: false,
        };
        Self { slot: Arc::new(Slot(Mutex::new(content))) }
    }

    pub(super) fn handle(&self) -> PermitHandle {
        PermitHandle { slot: Arc::downgrade(&self.slot) }
    }

    /// Takes the permit, if it was not released, for as long as the handler is polled.
    pub(super) fn take(&self) -> Option<Permit> {
        self.slot.lock().permit.take()
    }

    /// Returns the permit, or releases it if the handler has released it meanwhile.
    pub(super) fn put_back(&self, mut permit: Permit) {
        let mut content = self.slot.lock();
        if content.held {
            permit.counts_until_released();
        }
        if content.released {
            drop(content);
            drop_unmeasured(Some(permit));
        } else {
            content.permit = Some(permit);
        }
    }

    /// The head is there and this is the only owner, so that no handle has an effect from here on. Otherwise
    /// the permit stays shared.
    pub(super) fn unshare(self) -> Result<Content, Self> {
        let content = Arc::try_unwrap(self.slot).map_err(|slot| Self { slot })?.0;
        Ok(content.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the layer is drained or stopped.
    pub(super) fn is_stopping(&self) -> bool {
        self.slot.lock().permit.as_ref().is_some_and(Permit::is_stopping)
    }

    /// The head of the response is there.
    pub(super) fn answered(&self) {
        self.slot.lock().in_flight.answered();
    }

    /// The stream takes the place of the permit, for all owners.
    pub(super) fn becomes_stream(&self, stream: CountedStream) {
        let permit = {
            let mut content = self.slot.lock();
            content.stream = Some(stream);
            content.uncounted = None;
            content.permit.take()
        };
        drop(permit);
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Content> {
        // No code of others runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A release is no cancellation.
fn drop_unmeasured(permit: Option<Permit>) {
    if let Some(mut permit) = permit {
        permit.skip_measurement();
    }
}
