//! What a request in flight holds, from admission to the last frame of its response.

use std::task::{Context, Poll, Waker};

use http::Response;

use super::classify::Classifier;
use super::dry_run::DryRun;
use super::permit_handle::{PermitHandle, SharedPermit};
use super::switches::{CountedStream, Switches, Uncounted};
use crate::limiter::{Permit, PollTimer};
use crate::observe::{InFlight, Inside};

/// A request in flight; both parts end when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    right: Right,
    in_flight: InFlight,
}

/// What counts a request that no limiter counts, until it is dropped.
pub(crate) trait Hold: std::fmt::Debug + Send + Sync {}

/// One poll of the service's future.
#[derive(Debug)]
pub(crate) struct ServicePoll {
    timer: Option<PollTimer>,
    /// The permit that the handler shares, for its time in the guard.
    shared: Option<SharedPermit>,
    _inside: Option<Inside>,
}

impl ServicePoll {
    /// The waker to poll with.
    #[inline]
    pub(crate) fn waker<'a>(&'a self, cx: &'a Context<'_>) -> &'a Waker {
        self.timer.as_ref().map_or(cx.waker(), |timer| &timer.waker)
    }
}

/// Why the request runs.
#[derive(Debug)]
enum Right {
    /// The limiter admitted it.
    Permit(Permit),
    /// The same, and the handler can reach the permit.
    Shared(SharedPermit),
    /// Its handler has released the permit.
    Released,
    /// It is a stream that counts as such.
    Stream { _stream: CountedStream },
    /// In a dry run: its ticket is still in the queue.
    DryRun(Box<DryRun>),
    /// It is exempt, or a dry run would have rejected it.
    Uncounted { _uncounted: Uncounted },
    /// It counts elsewhere until this is dropped.
    Elsewhere { _hold: Option<Box<dyn Hold>> },
}

impl Guard {
    #[inline]
    pub(crate) const fn new(permit: Permit, in_flight: InFlight) -> Self {
        Self { right: Right::Permit(permit), in_flight }
    }

    pub(crate) const fn uncounted(uncounted: Uncounted, in_flight: InFlight) -> Self {
        Self { right: Right::Uncounted { _uncounted: uncounted }, in_flight }
    }

    /// No limiter admitted the request; what counts it is told of its end by the drop of `hold`.
    pub(crate) const fn elsewhere(hold: Option<Box<dyn Hold>>, in_flight: InFlight) -> Self {
        Self { right: Right::Elsewhere { _hold: hold }, in_flight }
    }

    pub(crate) fn dry_run(dry_run: DryRun, in_flight: InFlight) -> Self {
        Self { right: Right::DryRun(Box::new(dry_run)), in_flight }
    }

    /// Ready when the service inside may be called.
    pub(crate) fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.right {
            Right::Permit(permit) => permit.poll_start(cx),
            Right::Shared(shared) => {
                let Some(mut permit) = shared.take() else { return Poll::Ready(()) };
                let polled = permit.poll_start(cx);
                shared.put_back(permit);
                polled
            }
            _ => Poll::Ready(()),
        }
    }

    /// Lets the handler reach the permit, if there is one.
    pub(super) fn share(&mut self, switches: &Switches) -> PermitHandle {
        let Right::Permit(_) = self.right else { return PermitHandle::dead() };
        let Right::Permit(permit) = std::mem::replace(&mut self.right, Right::Released) else {
            unreachable!("matched a line ago");
        };
        let shared = SharedPermit::new(permit, self.in_flight.take(), switches.clone());
        let handle = shared.handle();
        self.right = Right::Shared(shared);
        handle
    }

    /// Marks that say "not begun" were removed from the response.
    #[cold]
    pub(super) fn marks_removed(&self) {
        self.in_flight.marks_removed();
    }

    /// Whether the layer is drained or stopped while the limiter counts this request.
    #[inline]
    pub(super) fn is_stopping(&self) -> bool {
        match &self.right {
            Right::Permit(permit) => permit.is_stopping(),
            Right::Shared(shared) => shared.is_stopping(),
            _ => false,
        }
    }

    pub(super) const fn is_stream(&self) -> bool {
        matches!(self.right, Right::Stream { .. })
    }

    /// The response is a stream: it gives its permit back, and counts as a stream.
    pub(super) fn becomes_stream(&mut self, stream: CountedStream) {
        match &self.right {
            Right::Shared(shared) => shared.becomes_stream(stream),
            _ => self.right = Right::Stream { _stream: stream },
        }
    }

    /// The service inside is polled until what is returned is dropped.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Inside> {
        self.in_flight.enter()
    }

    /// A poll of the service's future begins.
    #[inline(always)]
    pub(crate) fn begin_poll(&mut self, cx: &mut Context<'_>) -> ServicePoll {
        let shared = match &self.right {
            Right::Permit(_) => None,
            _ => self.prepare_poll(cx),
        };
        let timer = match &mut self.right {
            Right::Permit(permit) => permit.begin_poll(cx),
            _ => None,
        };
        ServicePoll { timer, shared, _inside: self.enter() }
    }

    /// The poll has ended. If it gave a response, that is classified and teaches the limit.
    ///
    /// By reference: a response is large, and a move is a copy.
    #[inline(always)]
    pub(crate) fn end_poll<B, E>(
        &mut self,
        poll: ServicePoll,
        polled: &mut Poll<Result<Response<B>, E>>,
        classifier: &Classifier,
    ) {
        if let Right::Permit(permit) = &mut self.right {
            if permit.is_measured() {
                permit.end_poll(poll.timer, polled.is_pending());
                if let Poll::Ready(result) = polled {
                    permit.record(classifier.outcome(result));
                }
            }
        }
        if poll.shared.is_some() {
            self.return_permit(poll.shared);
        }
    }

    /// Takes a shared permit for one poll, in which the handler may use its handle.
    #[cold]
    fn prepare_poll(&mut self, cx: &mut Context<'_>) -> Option<SharedPermit> {
        self.poll_dry_run(cx);
        let Right::Shared(shared) = &self.right else { return None };
        let right = shared.take().map_or(Right::Released, Right::Permit);
        match std::mem::replace(&mut self.right, right) {
            Right::Shared(shared) => Some(shared),
            _ => None,
        }
    }

    #[cold]
    fn return_permit(&mut self, shared: Option<SharedPermit>) {
        let Some(shared) = shared else { return };
        if let Right::Permit(permit) = std::mem::replace(&mut self.right, Right::Released) {
            shared.put_back(permit);
        }
        self.right = Right::Shared(shared);
    }

    /// In a dry run: takes the limiter's decision if there is one by now.
    fn poll_dry_run(&mut self, cx: &mut Context<'_>) {
        let Right::DryRun(dry_run) = &mut self.right else { return };
        if let Poll::Ready(decision) = dry_run.poll_decision(cx) {
            self.right = match decision {
                Ok(permit) => Right::Permit(permit),
                Err(uncounted) => Right::Uncounted { _uncounted: uncounted },
            };
        }
    }

    /// The head of the response is there.
    #[inline]
    pub(crate) fn head_is_ready(&mut self) {
        self.in_flight.answered();
        if !matches!(self.right, Right::Permit(_)) {
            self.settle();
        }
    }

    /// A dry run that is still undecided ends here, as it is not polled while a body is sent. A permit that
    /// nothing else holds is no longer shared, and follows the body.
    #[cold]
    fn settle(&mut self) {
        self.right = match std::mem::replace(&mut self.right, Right::Released) {
            Right::DryRun(dry_run) => Right::Uncounted { _uncounted: dry_run.uncounted() },
            Right::Shared(shared) => match shared.unshare() {
                Ok(content) => {
                    self.in_flight = content.in_flight;
                    self.in_flight.answered();
                    match (content.permit, content.uncounted) {
                        (Some(permit), _) => Right::Permit(permit),
                        (None, Some(uncounted)) => Right::Uncounted { _uncounted: uncounted },
                        (None, None) => Right::Released,
                    }
                }
                Err(shared) => {
                    shared.answered();
                    Right::Shared(shared)
                }
            },
            right => right,
        };
    }

    /// The permit, if the limiter admitted the request.
    #[inline]
    pub(crate) const fn permit(&mut self) -> Option<&mut Permit> {
        match &mut self.right {
            Right::Permit(permit) => Some(permit),
            _ => None,
        }
    }
}
