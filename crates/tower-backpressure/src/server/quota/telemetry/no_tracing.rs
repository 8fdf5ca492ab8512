//! Without the feature `tracing`.

pub(super) const fn store_fails(_policy: &str, _error: &str, _on_failure: &'static str) {}

pub(super) const fn store_is_back(_policy: &str) {}
