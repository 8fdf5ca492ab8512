//! Nanoseconds per request: admitted on one thread and on two, and rejected.
//!
//! `-- --contender fixed --count 100000` sends that many requests through one contender and prints
//! nothing, so that a profiler can count instructions. `--rejected` selects a contender that rejects. `--watched`
//! measures what a dashboard costs: see `Registry::watch`.

use std::process::ExitCode;
use std::time::Duration;

use backpressure_benches::contenders::{self, TOWER, TOWER_SHED};
use backpressure_benches::rounds::report;
use tower_backpressure::Registry;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, without the flag.
    if !arguments.iter().any(|it| it == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _context = runtime.enter();
    let is_watched = arguments.iter().any(|it| it == "--watched");
    let _watch = is_watched.then(|| Registry::global().watch());
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)
    };
    if let Some(name) = value("--contender") {
        let count = value("--count").and_then(|count| count.parse().ok()).unwrap_or(100_000);
        let is_rejected = arguments.iter().any(|it| it == "--rejected");
        return run_one(name, count, is_rejected, is_watched);
    }
    report("admitted, one thread", &mut contenders::admitting(), 1, TOWER);
    report("admitted, two threads through one limit", &mut contenders::admitting(), 2, TOWER);
    report("rejected, one thread", &mut contenders::rejecting(), 1, TOWER_SHED);
    ExitCode::SUCCESS
}

fn run_one(name: &str, count: u32, rejected: bool, is_watched: bool) -> ExitCode {
    let all = if rejected { contenders::rejecting() } else { contenders::admitting() };
    let Some(mut contender) = all.into_iter().find(|it| it.name == name) else {
        eprintln!("no contender is named {name}");
        return ExitCode::FAILURE;
    };
    if is_watched {
        // As a dashboard does each second: it then chooses how many requests are timed.
        contender.sessions[0](20_000);
        #[expect(clippy::disallowed_methods, reason = "nothing else runs meanwhile")]
        std::thread::sleep(Duration::from_millis(110));
        let _ = Registry::global().reports();
    }
    contender.sessions[0](count);
    ExitCode::SUCCESS
}
