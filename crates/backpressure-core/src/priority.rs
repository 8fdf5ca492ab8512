//! How much a request matters.

/// Criticality of a request: among those that wait, a higher one runs first.
///
/// No class is refused for want of room while a lower one waits or is admitted, nor before the refused
/// request would have had its turn. What runs is never interrupted.
///
/// Four levels, as in Google's SRE book (chapter 21): more would have to be agreed on by every
/// caller, fewer cannot tell a page from a prefetch.
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
    /// May be delayed: batch and background work somebody will miss.
    Deferrable,
    /// What a request is unless somebody says otherwise.
    #[default]
    Normal,
    /// The last to be shed: the business stops without it.
    Critical,
}
