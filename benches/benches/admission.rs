//! Nanoseconds per request: admitted on one thread and on two, and rejected.
//!
//! With the feature `count`, `-- --contender fixed --count 100000` sends that many requests through one contender and
//! prints nothing, so that a profiler can count instructions. `--rejected` selects a contender that rejects. `--watched`
//! measures what a dashboard costs: see `Registry::watch`.

use std::process::ExitCode;

use backpressure_benches::contenders::{self, TOWER, TOWER_SHED};
use backpressure_benches::rounds::report;
use tower_backpressure::Registry;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, without the flag.
    if !arguments.iter().any(|it| it == "--bench") {
        return ExitCode::SUCCESS;
    }
    let is_watched = arguments.iter().any(|it| it == "--watched");
    let _watch = is_watched.then(|| Registry::global().watch());
    #[cfg(feature = "count")]
    if let Some(code) = count(&arguments, is_watched) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _context = runtime.enter();
    report("admitted, one thread", &mut contenders::admitting(), 1, TOWER);
    report("admitted, two threads through one limit", &mut contenders::admitting(), 2, TOWER);
    report("rejected, one thread", &mut contenders::rejecting(), 1, TOWER_SHED);
    ExitCode::SUCCESS
}

#[cfg(feature = "count")]
fn count(arguments: &[String], is_watched: bool) -> Option<ExitCode> {
    use backpressure_benches::count;
    let (name, requests) = count::asked_for(arguments)?;
    let runtime = count::runtime();
    let _context = runtime.enter();
    let is_rejected = arguments.iter().any(|it| it == "--rejected");
    let all = if is_rejected { contenders::rejecting() } else { contenders::admitting() };
    // A dashboard asks for reports, by which a layer chooses how many requests are timed.
    let look = || _ = is_watched.then(|| Registry::global().reports());
    Some(count::run(&runtime, all, name, requests, look))
}
