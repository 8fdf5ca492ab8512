//! How true `Retry-After` is, as a score by scenario: of the requests that came back when told, the share that
//! was admitted, and how much longer they were told to wait than was necessary.
//!
//! `cargo test -p backpressure-tests --release --test retry_after_score -- --nocapture` prints the table.

mod scenarios;
mod score;
mod traffic;

use std::time::Duration;

use scenarios::{Scenario, kept, known_misses};
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

/// Prints the row of each scenario; returns the names of those that miss a bar.
fn missed(scenarios: impl Iterator<Item = Scenario>) -> Vec<&'static str> {
    println!(
        "| scenario | returns | admitted | told, median | median, for needed | p99, for needed |"
    );
    println!("|---|---|---|---|---|---|");
    let misses = scenarios.filter(|scenario| {
        let score = scenario.run();
        print_row(scenario.name, &score);
        let admitted = score.admitted_share() >= MIN_ADMITTED_SHARE;
        let median = score.times_longer(0.5) <= MAX_TIMES_LONGER.0;
        let longest = score.times_longer(0.99) <= MAX_TIMES_LONGER.1;
        score.returned == 0 || !(admitted && median && longest)
    });
    misses.map(|scenario| scenario.name).collect()
}

#[test]
fn requests_that_come_back_when_told_are_admitted_and_wait_no_longer_than_needed() {
    assert_eq!(missed(kept()), [""; 0]);
}

#[test]
#[ignore = "known miss: HTTP tells whole seconds, so that the herd comes back in crowds, and 73 % of it are admitted; with \
            two permits that are held for 20 s clients are told 1.4 times what is needed, 3.5 times at worst"]
fn the_same_holds_for_a_herd_without_tickets_and_for_two_permits() {
    assert_eq!(missed(known_misses()), [""; 0]);
}
