//! A place in flight.

use backpressure_gate::{Permit, Place};

use crate::observe::Admitted;

/// A permit, or the place it leaves, and its mark in the metrics: both end together.
#[derive(Debug)]
pub(crate) struct Held<P = Permit> {
    permit: P,
    _admitted: Admitted,
}

impl Held {
    pub(crate) const fn new(permit: Permit, admitted: Admitted) -> Self {
        Self { permit, _admitted: admitted }
    }

    pub(crate) const fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// What the body needs to hold.
    pub(crate) fn into_place(self) -> Held<Place> {
        Held { permit: self.permit.into_place(), _admitted: self._admitted }
    }
}

impl Held<Place> {
    pub(crate) const fn place(&mut self) -> &mut Place {
        &mut self.permit
    }
}
