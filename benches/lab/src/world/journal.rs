//! What happened in a run.

/// Every request and attempt of a run, and how they ended.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Journal {
    /// Requests in the order in which they arrived.
    pub(crate) asked: Vec<RequestRecord>,
    /// Attempts in the order in which they ended for their clients.
    pub(crate) ended: Vec<AttemptRecord>,
    pub(crate) levels: Vec<Level>,
    /// Work done at the bottleneck after the warm-up, useful or not.
    pub(crate) work_done: f64,
    /// Attempts sent when a `Retry-After` said so, and how many of them were admitted.
    pub(crate) promised: u64,
    pub(crate) kept: u64,
    /// Attempts that entered a service and attempts that left one, nested ones included.
    pub(crate) entered: u64,
    pub(crate) left: u64,
    /// End of the run, in nanoseconds.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RequestRecord {
    pub(crate) at: u64,
    /// Its latency if it met no other request, in nanoseconds.
    pub(crate) uncontended: u64,
    /// The part of that which it would not spend at the bottleneck.
    pub(crate) elsewhere: u64,
    /// Seconds of work at the bottleneck; 0 if the request is bound to fail.
    pub(crate) work: f64,
    pub(crate) stream: u32,
    pub(crate) tenant: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptRecord {
    /// When, for the client, in nanoseconds.
    pub(crate) at: u64,
    /// Nanoseconds since it was sent.
    pub(crate) latency: u64,
    /// Number of its request.
    pub(crate) request: u32,
    pub(crate) outcome: AttemptOutcome,
}

/// How an attempt ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    /// Answered in time.
    Answered,
    /// The client gave up.
    Left,
    /// Rejected by the first service.
    Refused,
    /// Rejected by a service that was called.
    Overloaded,
    /// Answered with an error.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) at: f64,
    /// All replicas of the first service together.
    pub(crate) limit: f64,
    pub(crate) in_flight: f64,
    pub(crate) queued: f64,
}
