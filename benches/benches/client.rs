//! Nanoseconds per successful request through the client layers.
//!
//! `-- --contender stack --count 100000` sends that many requests through one contender and prints nothing, so that
//! a profiler can count instructions.

use std::process::ExitCode;

use backpressure_benches::clients::{TOWER_RETRY, clients};
use backpressure_benches::rounds::report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, without the flag.
    if !arguments.iter().any(|it| it == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)
    };
    let Some(name) = value("--contender") else {
        report("a client, one thread", &mut clients(), 1, TOWER_RETRY);
        return ExitCode::SUCCESS;
    };
    let count = value("--count").and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let Some(mut contender) = clients().into_iter().find(|it| it.name == name) else {
        eprintln!("no contender is named {name}");
        return ExitCode::FAILURE;
    };
    contender.sessions[0](count);
    ExitCode::SUCCESS
}
