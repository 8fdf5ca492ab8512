//! The service that the herd arrives at, and the herd.

use crate::scenario::Scenario;

/// Requests in the herd.
pub(crate) const HERD: u32 = 10_000;
/// When they arrive, in seconds: late enough for the service to have learned its usual load.
pub(crate) const BURST: f64 = 120.0;
/// Requests per second that the service can do, and the share of it that other clients use.
const CAPACITY: f64 = 1_600.0;
const LOAD: f64 = 0.5;
/// Seconds of a run after the herd's arrival: enough for the slowest kind of client.
const WATCHED: f64 = 600.0;

/// Deadline, in seconds, of clients that do not give up.
pub(crate) const NEVER: f64 = 10_000.0;

/// Seconds until the herd is served by the spare capacity alone.
pub(crate) const IDEAL: f64 = HERD as f64 / (CAPACITY * (1.0 - LOAD));

/// 16 workers, 10 ms each, half of the capacity used by clients that do not retry; then the herd, each request
/// from a process of its own.
pub(crate) fn scenario(retry: &str, deadline: f64) -> Result<Scenario, String> {
    let parts = format!(
        r#"
[[service]]
name = "service"
[[service.stage]]
kind = "fifo"
cores = 16
visible = true
time = {{ exp = 0.01 }}
[[stream]]
class = "steady"
load = {LOAD:?}
[[stream]]
class = "herd"
burst = {{ size = {HERD}, first = {BURST:?} }}
users = 1000000
deadline = {deadline:?}
fleets = 100000
retry = {retry}
"#
    );
    Scenario::made_up(BURST + WATCHED, &parts)
}
