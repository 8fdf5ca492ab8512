//! What a request in flight holds, from admission to the last frame of its response.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::classify::Classifier;
use super::dry_run::DryRun;
use super::switches::Uncounted;
use crate::limiter::Permit;
use crate::observe::InFlight;

/// A request in flight; both parts end when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    right: Right,
    _in_flight: InFlight,
}

/// Why the request runs.
#[derive(Debug)]
enum Right {
    /// The limiter admitted it.
    Permit(Permit),
    /// In a dry run: its ticket is still in the queue.
    DryRun(DryRun),
    /// It is exempt, or a dry run would have rejected it.
    Uncounted { _uncounted: Uncounted },
}

impl Guard {
    #[inline]
    pub(crate) const fn new(permit: Permit, in_flight: InFlight) -> Self {
        Self { right: Right::Permit(permit), _in_flight: in_flight }
    }

    pub(crate) const fn uncounted(uncounted: Uncounted, in_flight: InFlight) -> Self {
        Self { right: Right::Uncounted { _uncounted: uncounted }, _in_flight: in_flight }
    }

    pub(crate) const fn dry_run(dry_run: DryRun, in_flight: InFlight) -> Self {
        Self { right: Right::DryRun(dry_run), _in_flight: in_flight }
    }

    /// Ready when the service inside may be called.
    pub(crate) fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.permit().map_or(Poll::Ready(()), |permit| permit.poll_start(cx))
    }

    /// One poll of the service's future; its response is classified and teaches the limit.
    pub(crate) fn poll_service<F, B, E>(
        &mut self,
        future: Pin<&mut F>,
        classifier: &Classifier,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output>
    where
        F: Future<Output = Result<http::Response<B>, E>>,
    {
        let Right::Permit(permit) = &mut self.right else {
            self.poll_dry_run(cx);
            return future.poll(cx);
        };
        // By reference: a response is large, and a move is a copy.
        let mut polled = permit.poll_measured(future, cx);
        match &mut polled {
            Poll::Ready(result) if permit.is_measured() => {
                permit.record(classifier.outcome(result));
            }
            _ => {}
        }
        polled
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

    /// The head of the response is there. A dry run that is still undecided ends here, as it is not
    /// polled while a body is sent.
    #[inline]
    pub(crate) fn head_is_ready(&mut self) {
        if let Right::DryRun(dry_run) = &self.right {
            self.right = Right::Uncounted { _uncounted: dry_run.uncounted() };
        }
    }

    /// The permit, if the limiter admitted the request.
    #[inline]
    pub(crate) const fn permit(&mut self) -> Option<&mut Permit> {
        match &mut self.right {
            Right::Permit(permit) => Some(permit),
            Right::DryRun(_) | Right::Uncounted { .. } => None,
        }
    }
}
