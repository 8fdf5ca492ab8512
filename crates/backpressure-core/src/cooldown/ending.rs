//! What an attempt says about an origin.

use std::time::Duration;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The origin did its work, whatever the result.
    Answered,
    /// The origin failed at it, or rejected it without a time. That says nothing about when to come back.
    Failed,
    /// No server was there to answer. Where the origin restarts, no other attempt is sent for this long.
    Unanswered(Duration),
    /// A response says when to come back.
    Told(Told),
    /// The caller left before the response.
    Cancelled,
}

/// What a response asks for: no attempt for this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// The quota of the client is used up (429). It may be that of a route alone.
    Quota(Duration),
    /// The origin is overloaded or down (503). It may be one of many replicas alone, or a share of the
    /// attempts.
    Load(Duration),
}
