//! Nanoseconds a request: admitted on one thread and on two, and refused.
//!
//! `-- --contender fixed --count 100000` takes so many requests through one contender and is
//! silent: for counting instructions. `--refused` picks among the refusing ones.

use std::process::ExitCode;

use backpressure_benches::contenders::{self, TOWER, TOWER_SHED};
use backpressure_benches::rounds::report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, without the flag.
    if !arguments.iter().any(|it| it == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _context = runtime.enter();
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)
    };
    if let Some(name) = value("--contender") {
        let count = value("--count").and_then(|count| count.parse().ok()).unwrap_or(100_000);
        return run_one(name, count, arguments.iter().any(|it| it == "--refused"));
    }
    report("admitted, one thread", &mut contenders::admitting(), 1, TOWER);
    report("admitted, two threads through one limit", &mut contenders::admitting(), 2, TOWER);
    report("refused, one thread", &mut contenders::refusing(), 1, TOWER_SHED);
    ExitCode::SUCCESS
}

fn run_one(name: &str, count: u32, refused: bool) -> ExitCode {
    let all = if refused { contenders::refusing() } else { contenders::admitting() };
    let Some(mut contender) = all.into_iter().find(|it| it.name == name) else {
        eprintln!("there is no contender {name}");
        return ExitCode::FAILURE;
    };
    contender.sessions[0](count);
    ExitCode::SUCCESS
}
