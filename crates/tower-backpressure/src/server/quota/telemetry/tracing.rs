//! Events when the store of a shared quota fails, and when it is back.

pub(super) fn store_fails(policy: &str, error: &str, on_failure: &'static str) {
    tracing::warn!(policy, error, on_failure, "quota store fails");
}

pub(super) fn store_is_back(policy: &str) {
    tracing::info!(policy, "quota store is back");
}
