//! Without the feature `tracing`.

use super::{GiveUpReason, Wait};

pub(super) const fn retrying(_policy: &str, _resend_count: u32, _wait: Wait) {}

pub(super) const fn gave_up(_policy: &str, _attempts: u32, _reason: GiveUpReason) {}
