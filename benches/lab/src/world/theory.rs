//! Compares the world with queueing theory.

use std::cell::Cell;

use backpressure_core::{Sample, Timestamp};

use crate::controller::catalogue::find;
use crate::controller::{Answer, AttemptInfo, Controller, Next, Site};
use crate::scenario::Scenario;

use super::clock::nanos;
use super::journal::{AttemptOutcome, Journal};
use super::plan::Plan;
use super::{World, simulate};

/// A service of one stage under a steady load.
fn plan(stage: &str, load: f64, seconds: u32) -> Plan {
    plan_of(
        &format!(
            "[[service]]\nname = 'api'\n[[service.stage]]\n{stage}\n[[stream]]\nload = {load}",
        ),
        seconds,
    )
}

fn plan_of(parts: &str, seconds: u32) -> Plan {
    Plan::of(&Scenario::made_up(f64::from(seconds), parts).unwrap())
}

fn run(plan: &Plan, controller: &str) -> Journal {
    simulate(plan, &find(controller).unwrap().make, 7)
}

/// Mean latency of the answered attempts, in seconds.
fn mean_latency(journal: &Journal) -> f64 {
    let answered: Vec<f64> = journal
        .ended
        .iter()
        .filter(|ended| ended.outcome == AttemptOutcome::Answered)
        .map(|ended| ended.latency as f64 / 1e9)
        .collect();
    answered.iter().sum::<f64>() / answered.len() as f64
}

fn assert_close(found: f64, expected: f64, within: f64) {
    assert!((found / expected - 1.0).abs() < within, "{found}, theory says {expected}");
}

const ONE: &str = "kind = 'fifo'\ncores = 1\n";

#[test]
fn one_server_with_exponential_service_waits_as_theory_says() {
    for (load, within) in [(0.5, 0.02), (0.8, 0.06)] {
        let plan = plan(&format!("{ONE}time = {{ exp = 0.01 }}"), load, 4_000);
        // M/M/1: T = s/(1 − ρ).
        assert_close(mean_latency(&run(&plan, "none")), 0.01 / (1.0 - load), within);
    }
}

#[test]
fn one_server_with_fixed_service_waits_half_as_long() {
    let plan = plan(&format!("{ONE}time = {{ fixed = 0.01 }}"), 0.8, 4_000);
    // M/D/1: T = s + ρs/(2(1 − ρ)).
    assert_close(mean_latency(&run(&plan, "none")), 0.01 + 0.8 * 0.01 / 0.4, 0.03);
}

#[test]
fn a_heavy_tail_waits_as_pollaczek_and_khinchine_say() {
    let law = "time = { bimodal = { short = 0.005, long = 0.055, share_long = 0.1 } }";
    let plan = plan(&format!("{ONE}{law}"), 0.7, 8_000);
    let square = 0.9 * 0.005_f64.powi(2) + 0.1 * 0.055_f64.powi(2);
    let rate = 0.7 / 0.01;
    assert_close(mean_latency(&run(&plan, "none")), 0.01 + rate * square / (2.0 * 0.3), 0.05);
}

#[test]
fn processor_sharing_does_not_depend_on_the_distribution() {
    let laws =
        ["{ exp = 0.01 }", "{ bimodal = { short = 0.005, long = 0.055, share_long = 0.1 } }"];
    for law in laws {
        let plan = plan(&format!("kind = 'ps'\ncores = 1\ntime = {law}"), 0.7, 4_000);
        // M/G/1-PS: T = s/(1 − ρ).
        assert_close(mean_latency(&run(&plan, "none")), 0.01 / 0.3, 0.05);
    }
}

#[test]
fn a_loss_system_refuses_what_erlang_says() {
    let erlang_b = |servers: u32, load: f64| {
        (1..=servers).fold(1.0, |b, n| load * b / (f64::from(n) + load * b))
    };
    for law in ["{ exp = 0.04 }", "{ fixed = 0.04 }", "{ lognormal = { mean = 0.04, cv = 2 } }"] {
        for load in [0.8, 2.0] {
            let plan = plan(&format!("kind = 'slots'\nslots = 16\ntime = {law}"), load, 600);
            let journal = run(&plan, "static-c");
            let refused = journal
                .ended
                .iter()
                .filter(|ended| ended.outcome == AttemptOutcome::Refused)
                .count();
            let share = refused as f64 / journal.ended.len() as f64;
            assert_close(share, erlang_b(16, 16.0 * load), 0.04);
        }
    }
}

#[test]
fn rejections_cost_as_much_as_the_ceiling_says() {
    let service = "[[service]]\nname = 'api'\nrefusal = 0.001\n[[service.stage]]\n";
    let stage = "kind = 'fifo'\ncores = 1\nvisible = true\ntime = { exp = 0.01 }\n";
    let plan = plan_of(&format!("{service}{stage}[[stream]]\nload = 5"), 400);
    let journal = run(&plan, "static-2c");
    let answered =
        journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered).count()
            as f64;
    // g* = (1 − N·r)/(1 − r), and M/M/1/2 is idle for 1/31 of the time.
    let ceiling = (1.0 - 5.0 * 0.1) / (1.0 - 0.1);
    assert_close(answered / 400.0 / 100.0, ceiling, 0.05);
}

thread_local! {
    /// In flight, the moment since when, and their integral over time in nanoseconds.
    static COUNTED: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
}

/// Admits every attempt and integrates over their number.
#[derive(Debug)]
struct Counting;

impl Counting {
    fn count(change: i64, now: Timestamp) {
        let (count, since, sum) = COUNTED.get();
        let sum = sum + count * (now.as_nanos() - since);
        COUNTED.set((count.saturating_add_signed(change), now.as_nanos(), sum));
    }
}

impl Controller for Counting {
    fn arrive(&mut self, _attempt: AttemptInfo, now: Timestamp) -> Answer {
        Self::count(1, now);
        Answer::Run
    }

    fn depart(&mut self, _attempt: AttemptInfo, _sample: &Sample, now: Timestamp) {
        Self::count(-1, now);
    }

    fn next(&mut self, _now: Timestamp) -> Option<Next> {
        None
    }

    fn abandon(&mut self, _attempt: AttemptInfo, _now: Timestamp) {}

    fn limit(&self) -> f64 {
        f64::INFINITY
    }

    fn queued(&self) -> usize {
        0
    }
}

#[test]
fn littles_law_holds_to_the_nanosecond() {
    let make = |_: &Site| -> Box<dyn Controller> { Box::new(Counting) };
    for stage in [
        "kind = 'fifo'\ncores = 4",
        "kind = 'ps'\ncores = 4",
        "kind = 'usl'\nsigma = 0.1\nkappa = 0.001",
    ] {
        let plan = plan_of(
            &format!(
                "[[service]]\nname = 'api'\n[[service.stage]]\n{stage}\ntime = {{ exp = 0.01 }}\n[[stream]]\nload = [[0, 0.9], [50, 0]]"
            ),
            50,
        );
        COUNTED.set((0, 0, 0));
        let mut world = World::new(&plan, &make, 3);
        world.run_until(u64::MAX);
        let waited: u64 = world.journal.ended.iter().map(|ended| ended.latency).sum();
        let (left, _, integral) = COUNTED.get();
        assert_eq!((left, integral), (0, waited), "{stage}");
    }
}

/// Everything at once: a chain, rejections, retries, cancelled and abandoned work, slow bodies, failures,
/// stalls and a change.
const ALL_AT_ONCE: &str = "
[[service]]
name = 'front'
replicas = 2
balance = 'p2c'
refusal = 0.0001
rounds = 1
[[service.stage]]
kind = 'fifo'
cores = 2
visible = true
time = { exp = 0.002 }
stalls = [{ at = 3, for = 0.5 }, { at = 1, for = 0.01, every = 0.7 }]
[[service.stage]]
kind = 'fail'
share = 0.02
[[service.stage]]
kind = 'call'
service = 'store'
attempts = 2
after = 0.01
[[service.stage]]
kind = 'call'
service = 'store'
[[service.stage]]
kind = 'body'
time = { exp = 0.02 }
[[service]]
name = 'store'
rounds = 2
[[service.stage]]
kind = 'ps'
cores = 4
time = { lognormal = { mean = 0.004, cv = 1 } }
changes = [{ at = 5, cores = 1 }, { at = 7, cores = 4, speed = 0.8 }]
[[service.stage]]
kind = 'slots'
slots = 8
time = { uniform = [0.001, 0.003] }
[[service.stage]]
kind = 'delay'
time = { fixed = 0.005 }
[[stream]]
class = 'patient'
load = [[0, 0.5], [2, 3], [9, 0.2], [12, 0]]
process = { mmpp = { low = 0.5, high = 2, low_for = 1, high_for = 0.3 } }
patience = 0.2
retry = { naive = { attempts = 3, after = 0.05 } }
[[stream]]
class = 'zombies'
load = [[0, 0.5], [12, 0]]
patience = 0.05
cancels = false
tells = true
priority = 'critical'
retry = { ours = { attempts = 3 } }
deadline = 1
tenants = { first = 3, count = 4, zipf = 1 }
";

#[test]
fn every_attempt_that_enters_leaves_exactly_once() {
    let plan = plan_of(ALL_AT_ONCE, 12);
    for controller in ["none", "static-c", "ours"] {
        let mut world = World::new(&plan, &find(controller).unwrap().make, 5);
        world.run_until(u64::MAX);
        let journal = &world.journal;
        assert!(journal.entered > 5_000, "{controller}: {}", journal.entered);
        assert_eq!(journal.entered, journal.left, "{controller}");
        assert_eq!((world.attempts.len(), world.requests.len()), (0, 0), "{controller}");
        assert!(world.servers.iter().all(|server| server.in_flight == 0), "{controller}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let plan = plan_of(ALL_AT_ONCE, 12);
    for controller in ["none", "static-2c", "ours"] {
        let entry = find(controller).unwrap();
        let first = simulate(&plan, &entry.make, 5);
        assert_eq!(first, simulate(&plan, &entry.make, 5), "{controller}");
        assert_ne!(first, simulate(&plan, &entry.make, 6), "{controller}");
    }
}

#[test]
fn no_controller_changes_the_requests_of_a_seed() {
    let plan = plan_of(ALL_AT_ONCE, 12);
    let asked = |controller| run(&plan, controller).asked;
    let none = asked("none");
    assert_eq!(none, asked("static-c"));
    assert_eq!(none, asked("ours"));
}

#[test]
fn a_stage_that_is_twice_as_slow_takes_twice_as_long() {
    let stage = format!(
        "{ONE}visible = true\ntime = {{ fixed = 0.01 }}\nchanges = [{{ at = 10, speed = 0.5 }}]"
    );
    let plan = plan(&stage, 0.001, 40_000);
    let journal = run(&plan, "none");
    let late = journal.ended.iter().filter(|ended| ended.at > nanos(11.0));
    assert!(late.clone().count() > 1_000);
    let slow = late.filter(|ended| ended.latency == 20_000_000).count();
    assert!(slow > 1_000, "{slow}");
}

#[test]
fn a_thrashing_server_peaks_where_its_formula_does() {
    let plan = plan("kind = 'usl'\nsigma = 0.02\nkappa = 0.0005\ntime = { exp = 0.04 }", 3.0, 200);
    let rate = |n: f64| n / (1.0 + 0.02 * (n - 1.0) + 0.0005 * n * (n - 1.0)) / 0.04;
    let best = (1..200).map(|n| rate(f64::from(n))).fold(0.0, f64::max);
    assert_close(plan.requests.at(0.0), best, 1e-9);
    let journal = run(&plan, "static-c");
    let answered =
        journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered).count()
            as f64;
    assert_close(answered / 200.0, best, 0.03);
}

#[test]
fn clients_with_a_budget_send_no_more_than_it_allows() {
    let retry = "retry = { budget = { attempts = 5, ratio = 0.1, base = 0.01, cap = 0.1 } }";
    let service = "[[service]]\nname = 'api'\n[[service.stage]]\nkind = 'slots'\nslots = 4\n";
    let stream = format!("time = {{ exp = 0.01 }}\n[[stream]]\nload = 10\npatience = 0.1\n{retry}");
    let journal = run(&plan_of(&format!("{service}{stream}"), 20), "static-c");
    let retries = journal.ended.len() - journal.asked.len();
    let allowed = 10.0 + 0.1 * journal.asked.len() as f64;
    assert!((0.9 * allowed..=allowed).contains(&(retries as f64)), "{retries} of {allowed}");
}

#[test]
fn abandoned_work_takes_capacity_that_cancelled_work_gives_back() {
    let work = |cancels: bool| {
        let plan = plan_of(
            &format!(
                "[[service]]\nname = 'api'\n[[service.stage]]\nkind = 'ps'\ncores = 4\ntime = {{ fixed = 0.1 }}\n[[stream]]\nload = 3\npatience = 0.15\ncancels = {cancels}"
            ),
            30,
        );
        run(&plan, "none")
    };
    let answered = |journal: &Journal| {
        journal.ended.iter().filter(|ended| ended.outcome == AttemptOutcome::Answered).count()
    };
    assert!(answered(&work(false)) < answered(&work(true)) / 4 + 20);
    assert!(work(true).work_done <= 4.0 * 30.0 + 1e-6);
}
