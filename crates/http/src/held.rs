//! A place in flight.

use backpressure_gate::Permit;

use crate::observe::Admitted;

/// A permit, and its mark in the metrics: both end together.
#[derive(Debug)]
pub(crate) struct Held {
    permit: Permit,
    _admitted: Admitted,
}

impl Held {
    pub(crate) const fn new(permit: Permit, admitted: Admitted) -> Self {
        Self { permit, _admitted: admitted }
    }

    pub(crate) const fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }
}
