//! Allocations per request, admitted and rejected.

use std::alloc::System;

use backpressure_benches::clients;
use backpressure_benches::contenders::{self, Contender};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that the allocations of a layer's first requests are below the precision of the table.
const REQUESTS: u32 = 100_000;

fn main() {
    // `cargo test --all-targets` runs this too, without the flag.
    if !std::env::args().any(|it| it == "--bench") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    report("admitted", contenders::admitting());
    report("rejected", contenders::rejecting());
    report("a client", clients::clients());
}

fn report(title: &str, contenders: Vec<Contender>) {
    println!("\n{title}\n\n| | allocations per request | bytes |\n|---|---|---|");
    for mut contender in contenders {
        contender.sessions[0](REQUESTS);
        let region = Region::new(ALLOCATOR);
        contender.sessions[0](REQUESTS);
        let change = region.change();
        let each = |count: usize| count as f64 / f64::from(REQUESTS);
        let calls = change.allocations + change.reallocations;
        let bytes = each(change.bytes_allocated);
        println!("| {} | {:.2} | {bytes:.0} |", contender.name, each(calls));
    }
}
