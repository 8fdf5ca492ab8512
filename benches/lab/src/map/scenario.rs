//! The service of the map: healthy until the trigger.

use crate::map::grid::{Place, Policy, Strength};
use crate::scenario::Scenario;

/// Seconds before the trigger, from its end until the service is expected to have recovered, and of requests
/// from then on that are scored.
pub(crate) const WARM_UP: f64 = 5.0;
pub(crate) const RESPITE: f64 = 20.0;
pub(crate) const WATCHED: f64 = 10.0;
/// Seconds until a client gives up an attempt, and until it gives up the request.
const PATIENCE: f64 = 1.0;
const DEADLINE: f64 = 10.0;

/// Options that are the same in every cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    /// Whether the bottleneck is behind an await.
    pub(crate) opaque: bool,
}

/// Four workers, 40 ms each: 100 requests a second. A request is worked off even if its client has given up; a
/// rejection costs a four-hundredth of a request.
pub(crate) fn scenario(place: &Place, setting: Setting) -> Result<Scenario, String> {
    let (from, to) = (WARM_UP, WARM_UP + place.trigger_s);
    let (changes, load) = match place.trigger {
        Strength::Capacity(speed) => {
            let changes =
                format!("[{{ at = {from:?}, speed = {speed:?} }}, {{ at = {to:?}, speed = 1.0 }}]");
            (changes, format!("{:?}", place.load))
        }
        Strength::Load(times) => {
            let (calm, rush) = (place.load, place.load * times);
            let load = format!("[[0.0, {calm:?}], [{from:?}, {rush:?}], [{to:?}, {calm:?}]]");
            ("[]".to_owned(), load)
        }
    };
    let parts = format!(
        r#"
[[service]]
name = "service"
refusal = 0.0001
[[service.stage]]
kind = "fifo"
cores = 4
visible = {visible}
time = {{ exp = 0.04 }}
changes = {changes}
[[stream]]
load = {load}
patience = {PATIENCE:?}
deadline = {DEADLINE:?}
cancels = false
fleets = 10
retry = {retry}
"#,
        visible = !setting.opaque,
        retry = retry(place.policy),
    );
    Scenario::made_up(to + RESPITE + WATCHED + DEADLINE, &parts)
}

const fn retry(policy: Policy) -> &'static str {
    match policy {
        Policy::Once => r#""none""#,
        Policy::Naive3 => "{ naive = { attempts = 4, after = 0.0 } }",
        Policy::Naive10 => "{ naive = { attempts = 11, after = 0.0 } }",
        Policy::Jittered => "{ jittered = { attempts = 4, base = 0.1, cap = 5.0 } }",
        Policy::Budget => "{ budget = { attempts = 4, ratio = 0.1, base = 0.1, cap = 5.0 } }",
        Policy::Obedient => "{ obedient = { attempts = 4, whole_seconds = true } }",
        Policy::Ours => "{ ours = { attempts = 3 } }",
    }
}
