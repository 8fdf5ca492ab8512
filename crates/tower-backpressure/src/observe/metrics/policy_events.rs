//! The metric of the policy file.

use std::sync::Once;

use metrics::{Unit, counter, describe_counter};

const NAME: &str = "backpressure_policy_events_total";

/// Counts an event of the policy file.
pub(crate) fn policy_event(event: &'static str) {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe_counter!(NAME, Unit::Count, "Changes of the policy file, by what became of them.");
    });
    counter!(NAME, "event" => event).increment(1);
}
