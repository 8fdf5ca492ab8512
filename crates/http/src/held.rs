//! The right of one request to run, as a layer sees it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_gate::{Permit, Place};

use crate::classify::Classifier;
use crate::observe::Admitted;
use crate::switches::Free;
use crate::trial::Trial;

/// The right to run, or what is left of it once the head of the answer is there, and its mark in
/// the metrics: both end together.
#[derive(Debug)]
pub(crate) struct Held<P = Permit> {
    right: Right<P>,
    _admitted: Admitted,
}

/// By what right a request runs.
#[derive(Debug)]
enum Right<P> {
    /// The gate admitted it.
    Gate(P),
    /// In a dry run: the gate has not decided yet.
    Trial(Trial),
    /// The gate admitted it while it was running, too late to measure it.
    Late(Place),
    /// It is exempt, or a dry run would have refused it.
    Free(Free),
}

impl Held {
    pub(crate) const fn new(permit: Permit, admitted: Admitted) -> Self {
        Self { right: Right::Gate(permit), _admitted: admitted }
    }

    pub(crate) const fn free(free: Free, admitted: Admitted) -> Self {
        Self { right: Right::Free(free), _admitted: admitted }
    }

    pub(crate) const fn trial(trial: Trial, admitted: Admitted) -> Self {
        Self { right: Right::Trial(trial), _admitted: admitted }
    }

    /// Whether the work may begin at once; see [`Permit::begin`].
    #[inline]
    pub(crate) fn begin(&mut self) -> bool {
        match &mut self.right {
            Right::Gate(permit) => permit.begin(),
            _ => true,
        }
    }

    /// Ready when the work may begin.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.right {
            Right::Gate(permit) => permit.poll_begin(cx),
            _ => Poll::Ready(()),
        }
    }

    /// One poll of the work, measured if the gate admitted it; what it answers is classified and
    /// learned from.
    pub(crate) fn poll_work<F, B, E>(
        &mut self,
        work: Pin<&mut F>,
        classifier: &Classifier,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output>
    where
        F: Future<Output = Result<http::Response<B>, E>>,
    {
        let Right::Gate(permit) = &mut self.right else {
            self.poll_trial(cx);
            return work.poll(cx);
        };
        // By reference: a response is large, and a move is a copy.
        let mut polled = permit.poll_measured(work, cx);
        match &mut polled {
            Poll::Ready(answer) if permit.is_measured() => {
                permit.record(classifier.outcome(answer));
            }
            _ => {}
        }
        polled
    }

    /// In a dry run: whether the gate has decided meanwhile.
    fn poll_trial(&mut self, cx: &mut Context<'_>) {
        let Right::Trial(trial) = &mut self.right else { return };
        if let Poll::Ready(verdict) = trial.poll_verdict(cx) {
            self.right = match verdict {
                Ok(place) => Right::Late(place),
                Err(free) => Right::Free(free),
            };
        }
    }

    /// What the body needs to hold. A trial that is still undecided ends here: nothing polls it
    /// while a body is sent.
    pub(crate) fn into_place(self) -> Held<Place> {
        let right = match self.right {
            Right::Gate(permit) => Right::Gate(permit.into_place()),
            Right::Late(place) => Right::Gate(place),
            Right::Trial(trial) => Right::Free(trial.into_free()),
            Right::Free(free) => Right::Free(free),
        };
        Held { right, _admitted: self._admitted }
    }
}

impl Held<Place> {
    /// The place of the gate's, where it runs by one.
    pub(crate) const fn place(&mut self) -> Option<&mut Place> {
        match &mut self.right {
            Right::Gate(place) | Right::Late(place) => Some(place),
            Right::Trial(_) | Right::Free(_) => None,
        }
    }
}
