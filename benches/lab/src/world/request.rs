//! What a request is, whatever becomes of it.

/// What belongs to a request, independent of the controller that it meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestSpec {
    pub(super) stream: u32,
    /// Every random number of the request is made of this.
    pub(super) key: u64,
    pub(super) user: u32,
    /// Deadline in nanoseconds: an answer after it is worth nothing.
    pub(super) ends: u64,
}
