//! The service of the map: healthy, until something happens to it for a while.

use crate::map::grid::{Place, Policy, Strength};
use crate::scenario::Scenario;

/// Seconds before the trigger, from it until the service is expected back, and until the last
/// request of those has its answer or gave up.
pub(crate) const WARM_UP: f64 = 5.0;
pub(crate) const RESPITE: f64 = 20.0;
pub(crate) const WATCHED: f64 = 10.0;
/// After this an attempt is given up, and after this the whole request.
const PATIENCE: f64 = 1.0;
const DEADLINE: f64 = 10.0;

/// What is the same in every cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    /// Whether the bottleneck is out of the process's sight.
    pub(crate) opaque: bool,
}

/// Four workers, 40 ms each: 100 requests a second. A request that nobody waits for any more is
/// worked off all the same; a refusal costs a four-hundredth of a request.
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
