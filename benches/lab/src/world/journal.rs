//! What a run leaves behind, for others to judge.

/// Everything that was asked, and how it ended.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Journal {
    /// Requests, in the order in which they came.
    pub(crate) asked: Vec<Asked>,
    /// Attempts, in the order in which they ended for their callers.
    pub(crate) ended: Vec<Ended>,
    pub(crate) levels: Vec<Level>,
    /// Work done at the bottleneck after the warm-up, for whomever.
    pub(crate) work_done: f64,
    /// Attempts sent when a Retry-After had said so, and how many of those were let in.
    pub(crate) promised: u64,
    pub(crate) kept: u64,
    /// Attempts that entered a service and that left one, nested ones included.
    pub(crate) entered: u64,
    pub(crate) left: u64,
    /// The last moment it was run to, in nanoseconds.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) at: u64,
    /// How long it would take alone in the system, in nanoseconds.
    pub(crate) uncontended: u64,
    /// How much of that it would not spend at the bottleneck.
    pub(crate) elsewhere: u64,
    /// Work at the bottleneck in seconds; nothing when it is bound to fail.
    pub(crate) work: f64,
    pub(crate) stream: u32,
    pub(crate) tenant: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// When, for the caller, in nanoseconds.
    pub(crate) at: u64,
    /// How long after it was sent.
    pub(crate) latency: u64,
    /// Which of the requests.
    pub(crate) request: u32,
    pub(crate) how: How,
}

/// How an attempt ended for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Answered in time.
    Answered,
    /// The caller left.
    Left,
    /// Turned away at the door.
    Refused,
    /// Turned away further down.
    Overloaded,
    /// Answered fast, and wrong.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) at: f64,
    /// All replicas of the entry service together.
    pub(crate) limit: f64,
    pub(crate) in_flight: f64,
    pub(crate) queued: f64,
}
