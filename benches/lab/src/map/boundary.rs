//! Published measurements of the boundary of metastability, without any layer.

use crate::controller::catalogue;
use crate::scenario::Scenario;
use crate::world;
use crate::world::journal::{AttemptOutcome, Journal};
use crate::world::plan::Plan;

/// 280 requests a second at a database that can do 300, each retried once; from 10 s on it is slower for a
/// while.
fn database(speed: f64, trigger: f64, patience: f64) -> Journal {
    let end = 10.0 + trigger;
    let parts = format!(
        r#"
[[service]]
name = "database"
[[service.stage]]
kind = "fifo"
cores = 3
time = {{ fixed = 0.01 }}
changes = [{{ at = 10.0, speed = {speed:?} }}, {{ at = {end:?}, speed = 1.0 }}]
[[stream]]
rate = 280.0
process = "even"
patience = {patience:?}
cancels = false
retry = {{ naive = {{ attempts = 2, after = 0.0 }} }}
"#
    );
    let plan = Plan::of(&Scenario::made_up(end + 300.0, &parts).expect("it is sound"));
    world::simulate(&plan, &catalogue::find("none").expect("it is listed").make, 1)
}

/// Attempts and good answers a second in the last minute.
fn at_the_end(journal: &Journal) -> (f64, f64) {
    let from = journal.end - 60_000_000_000;
    let late = || journal.ended.iter().filter(|ended| ended.at >= from);
    let good = late().filter(|ended| ended.outcome == AttemptOutcome::Answered);
    (late().count() as f64 / 60.0, good.count() as f64 / 60.0)
}

/// Bronson, Aghayev, Charapko and Zhu, HotOS 2021, section 2.1: an application retries once after a second;
/// after ten seconds without the database it gets 560 requests a second for ever.
#[test]
fn one_retry_keeps_a_database_down_after_ten_seconds_of_outage() {
    let (attempts, good) = at_the_end(&database(0.0, 10.0, 1.0));
    assert!((attempts - 560.0).abs() < 6.0 && good < 6.0, "{attempts}, {good}");
    let (attempts, good) = at_the_end(&database(0.0, 0.05, 1.0));
    assert!((attempts - 280.0).abs() < 3.0 && good > 277.0, "{attempts}, {good}");
}

/// Huang et al., OSDI 2022, artifact: MongoDB recovers from nine seconds at a fifth of the CPU, and not from
/// ten. The patience of their client is not given; with 7.4 s the boundary is here.
#[test]
fn nine_seconds_at_a_fifth_of_the_cpu_are_recovered_from_and_ten_are_not() {
    let (_, good) = at_the_end(&database(0.2, 9.0, 7.4));
    assert!(good > 277.0, "{good}");
    let (attempts, good) = at_the_end(&database(0.2, 10.0, 7.4));
    assert!(attempts > 550.0 && good < 28.0, "{attempts}, {good}");
}
