//! Nanoseconds per successful request through the client layers.
//!
//! With the feature `count`, `-- --contender stack --count 100000` sends that many requests through one contender and
//! prints nothing, so that a profiler can count instructions.

use std::process::ExitCode;

use backpressure_benches::clients::{TOWER_RETRY, clients};
use backpressure_benches::rounds::report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs this too, without the flag.
    if !arguments.iter().any(|it| it == "--bench") {
        return ExitCode::SUCCESS;
    }
    #[cfg(feature = "count")]
    if let Some(code) = count(&arguments) {
        return code;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    report("a client, one thread", &mut clients(), 1, TOWER_RETRY);
    ExitCode::SUCCESS
}

#[cfg(feature = "count")]
fn count(arguments: &[String]) -> Option<ExitCode> {
    use backpressure_benches::count;
    let (name, requests) = count::asked_for(arguments)?;
    let runtime = count::runtime();
    let _context = runtime.enter();
    Some(count::run(&runtime, clients(), name, requests, || ()))
}
