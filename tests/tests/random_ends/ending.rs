//! How a request ends.

use std::time::Duration;

use fastrand::Rng;

/// What the handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    /// A body of unknown length.
    Body,
    /// A body of known length.
    Sized,
    /// A body with trailers.
    Trailers,
    Empty,
    /// A body longer than the buffers of a connection.
    Long,
    /// A body that fails.
    Broken,
    /// A body that never ends.
    Endless,
    /// Server-sent events, which never end.
    Events,
    /// `101 Switching Protocols`.
    Upgrade,
    Error,
    PanicInCall,
    Panic,
    /// No response, ever.
    Hangs,
    /// Its own status, as of a dependency that rejects.
    Unavailable,
}

/// What the handler does with the handle of its permit, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Keeps,
    Releases,
    /// A spawned task keeps it, for a while after the response.
    Lends,
}

/// What the caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calling {
    /// It reads the whole body, if there is an end.
    Reads,
    /// It reads a part, waits as long as a stalled reader does, and leaves.
    Stalls,
    /// It drops the body unread.
    Ignores,
    /// It leaves, perhaps before there is a response.
    Leaves(Duration),
    /// It drops the future before the first poll.
    NeverPolls,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) handling: Handling,
    pub(crate) permit: Permit,
    pub(crate) calling: Calling,
    /// How long the handler works.
    pub(crate) work: Duration,
}

const HANDLINGS: [Handling; 14] = [
    Handling::Body,
    Handling::Sized,
    Handling::Trailers,
    Handling::Empty,
    Handling::Long,
    Handling::Broken,
    Handling::Endless,
    Handling::Events,
    Handling::Upgrade,
    Handling::Error,
    Handling::PanicInCall,
    Handling::Panic,
    Handling::Hangs,
    Handling::Unavailable,
];

impl Ending {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let handling = match rng.bool() {
            true => Handling::Body,
            false => rng.choice(HANDLINGS).expect("there are some"),
        };
        let permit = rng.choice([Permit::Keeps, Permit::Keeps, Permit::Releases, Permit::Lends]);
        let calling = match rng.u8(..) {
            0..=127 => Calling::Reads,
            128..=135 => Calling::Stalls,
            136..=175 => Calling::Ignores,
            176..=240 => Calling::Leaves(Duration::from_micros(rng.u64(0..40_000))),
            _ => Calling::NeverPolls,
        };
        // What never responds ends by its caller.
        let calling = match handling {
            Handling::Hangs => Calling::Leaves(Duration::from_millis(rng.u64(1..2_000))),
            _ => calling,
        };
        let permit = permit.expect("there are some");
        let work = Duration::from_micros(rng.u64(0..10_000) * u64::from(rng.bool()));
        Self { handling, permit, calling, work }
    }

    /// Whether the body may be read to its end.
    pub(crate) const fn ends(self) -> bool {
        !matches!(self.handling, Handling::Endless | Handling::Events)
    }
}
