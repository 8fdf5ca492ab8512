//! The priority of a request.

/// The priority of a request: of the queued requests, those of the highest run first.
///
/// No request is rejected for want of room while one of a lower priority is queued or admitted. After a
/// rejection lower priorities are rejected for as long as it would have been queued. What runs is never
/// interrupted.
///
/// Four levels, as in Google's SRE book (chapter 21): more would have to be agreed on by every caller,
/// fewer cannot tell a page from a prefetch.
///
/// ```
/// use backpressure_core::Priority;
///
/// assert!(Priority::Critical > Priority::default());
/// assert_eq!(Priority::default(), Priority::Normal);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// May be shed at any time: prefetch, crawlers, best-effort batch.
    Sheddable,
    /// May be delayed: batch and background work that has to be done at some time.
    Deferrable,
    /// The default.
    #[default]
    Normal,
    /// The last to be shed: requests without which the business stops.
    Critical,
}
