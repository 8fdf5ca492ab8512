//! What a request asks of a quota.

use super::key::QuotaKey;
use super::table::{Slot, TakenFrom};

/// What a request uses: whose quota, by which plan, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) key: QuotaKey,
    pub(super) slot: Slot,
    pub(super) plan: u32,
    pub(super) cost: u64,
    pub(super) taken_from: TakenFrom,
}
