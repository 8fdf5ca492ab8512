//! What happens next.

use crate::world::clock::nanos;
use crate::world::plan::Plan;
use crate::world::slab::Id;

/// Something that happens at its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The next request of a stream comes.
    Arrives(u32),
    /// A nap is over.
    Wakes(Id),
    /// A core has worked off what the refused have cost it, and turns to a job.
    Begins(Id),
    /// A core has done a job.
    Served(u32, Id),
    /// A job at a shared station may be done; the number says of which estimate.
    Shared(u32, u32),
    /// A station's cores change in number.
    Recounts(u32),
    /// Levels are read off.
    Look,
}

/// What the plan says will happen, and when.
pub(super) fn moments(plan: &Plan) -> impl Iterator<Item = (u64, Event)> {
    plan.stations.iter().enumerate().flat_map(|(index, station)| {
        station.cores.moments().map(move |at| (nanos(at), Event::Recounts(index as u32)))
    })
}
