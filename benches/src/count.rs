//! Runs one contender alone, for a profiler that counts instructions.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::advance;

use crate::contenders::Contender;

/// Requests between two steps of the clock, and the step: a million requests a second, as without a profiler.
///
/// A layer measures some 20 000 requests a second and one in k above. By the clock of a profiler, under which a
/// request takes fifty times as long, it would measure one in eight, and more on a busy machine.
const REQUESTS_PER_STEP: u32 = 1_000;
const STEP: Duration = Duration::from_millis(1);
/// A tenth of a second: the shortest time between two reports that change what is timed.
pub const STEPS_PER_LOOK: u32 = 100;

/// The contender and the number of requests that the arguments name; `None`: no contender.
#[must_use]
pub fn asked_for(arguments: &[String]) -> Option<(&str, u32)> {
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)
    };
    let count = value("--count").and_then(|count| count.parse().ok()).unwrap_or(100_000);
    value("--contender").map(|name| (name.as_str(), count))
}

/// A runtime whose clock stands still, and in which the contenders are to be made.
///
/// # Panics
/// When the runtime cannot be built.
#[must_use]
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime")
}

/// Sends this many requests, rounded down to thousands, through the contender with this name. Calls `look` once in
/// [`STEPS_PER_LOOK`] steps.
pub fn run(
    runtime: &Runtime,
    contenders: Vec<Contender>,
    name: &str,
    count: u32,
    look: impl Fn(),
) -> ExitCode {
    let Some(mut contender) = contenders.into_iter().find(|it| it.name == name) else {
        eprintln!("no contender is named {name}");
        return ExitCode::FAILURE;
    };
    for step in 1..=count / REQUESTS_PER_STEP {
        contender.sessions[0](REQUESTS_PER_STEP);
        runtime.block_on(advance(STEP));
        if step % STEPS_PER_LOOK == 0 {
            look();
        }
    }
    ExitCode::SUCCESS
}
