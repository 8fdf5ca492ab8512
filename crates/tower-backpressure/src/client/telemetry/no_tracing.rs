//! Without the feature `tracing`.

use std::time::Duration;

use super::{GiveUp, Source};

pub(super) const fn retrying(_policy: &str, _resend_count: u32, _wait: Duration, _source: Source) {}

pub(super) const fn gave_up(_policy: &str, _attempts: u32, _reason: GiveUp) {}
