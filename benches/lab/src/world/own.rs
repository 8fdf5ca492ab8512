//! What belongs to a request.

/// What belongs to a request, whoever serves it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) stream: u32,
    /// Everything that is drawn for it is made of this.
    pub(crate) key: u64,
    pub(crate) tenant: u32,
    pub(crate) user: u32,
    /// After this it is worthless.
    pub(crate) ends: u64,
}
