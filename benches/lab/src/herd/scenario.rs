//! The service the herd runs into, and the herd.

use crate::scenario::Scenario;

/// How many there are.
pub(crate) const HERD: u32 = 10_000;
/// When they come, in seconds: the service has had time to learn what usually arrives.
pub(crate) const BURST: f64 = 120.0;
/// Requests a second that the service can do, and the share of it that is in use.
const CAPACITY: f64 = 1_600.0;
const LOAD: f64 = 0.5;
/// How long the herd is watched: until the slowest is in.
const WATCHED: f64 = 600.0;

/// For those who do not give up.
pub(crate) const NEVER: f64 = 10_000.0;

/// What spare capacity allows.
pub(crate) const IDEAL: f64 = HERD as f64 / (CAPACITY * (1.0 - LOAD));

/// 16 workers, 10 ms each, half busy with callers who do not come back; then the herd, every one of
/// them a process of its own.
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
