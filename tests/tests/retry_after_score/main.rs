//! How true `Retry-After` is, as a score by scenario: of the requests that came back when told, the share that
//! was admitted, and how much longer they were told to wait than was necessary.
//!
//! `cargo test -p backpressure-tests --release --test retry_after_score -- --nocapture` prints the table.

mod scenarios;
mod score;
mod traffic;

use std::time::Duration;

use scenarios::all;
use score::Score;

/// Least share of the requests that come back when told which must be admitted.
const MIN_ADMITTED_SHARE: f64 = 0.95;
/// Most of the told time for the necessary one: median and 99th percentile.
const MAX_TIMES_LONGER: (f64, f64) = (1.2, 3.0);

const SECOND: Duration = Duration::from_secs(1);

fn print_row(name: &str, score: &Score) {
    println!(
        "| {name} | {} | {:.3} | {:.1} s | {:.2} | {:.2} |",
        score.returned,
        score.admitted_share(),
        score.median_told(),
        score.times_longer(0.5),
        score.times_longer(0.99)
    );
}

#[test]
fn requests_that_come_back_when_told_are_admitted_and_are_not_told_to_wait_for_longer_than_necessary()
 {
    println!("| scenario | returns | admitted | told (median) | median / needed | p99 / needed |");
    println!("|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for scenario in all().into_iter().filter(|it| {
        std::env::var("ONLY").is_err() || it.name.contains(&std::env::var("ONLY").expect("x"))
    }) {
        let score = scenario.run();
        print_row(scenario.name, &score);
        let admitted = score.admitted_share() >= MIN_ADMITTED_SHARE;
        let median = score.times_longer(0.5) <= MAX_TIMES_LONGER.0;
        let longest = score.times_longer(0.99) <= MAX_TIMES_LONGER.1;
        if score.returned == 0 || !(admitted && median && longest) {
            missed.push(scenario.name);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
