//! Nanoseconds an admitted request takes in the limiters of other crates for tower, beside ours and tower's own.
//!
//! They are measured here, in turns with the contenders of `cargo bench -p backpressure-benches`, so that the
//! lockfile of the product is free of them.

use std::process::ExitCode;

use backpressure_benches::contenders::{Contender, TOWER, admitting};
use backpressure_benches::rounds::report;
use backpressure_benches::served::Served;
use tower::Layer;

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this too, without the flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _context = runtime.enter();
    report("admitted, one thread", &mut contenders(), 1, TOWER);
    report("admitted, two threads through one limit", &mut contenders(), 2, TOWER);
    ExitCode::SUCCESS
}

fn contenders() -> Vec<Contender> {
    let vegas = tower_acc::Vegas::builder().initial_limit(100).build();
    let vegas = tower_acc::ConcurrencyLimitLayer::new(vegas);
    let aimd = tower_resilience_adaptive::Aimd::builder().initial_limit(100).build();
    let aimd = aimd.expect("a valid configuration");
    let aimd = tower_resilience_adaptive::AdaptiveLimiterLayer::new(aimd);
    let mut contenders = admitting();
    contenders.push(Contender::new("tower-acc-vegas", vegas.layer(Served)));
    contenders.push(Contender::new("tower-resilience-aimd", aimd.layer(Served)));
    contenders
}
