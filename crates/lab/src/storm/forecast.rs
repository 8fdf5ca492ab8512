//! What the simulator says of the same service under the same load, to hold it against the storm.
//!
//! It is told what the storm measured before it began: the capacity, and what a refusal costs.

use super::calibrate::Calibration;
use super::handler::Handler;
use super::plan::Entry;
use super::stack::Stack;
use super::trial::Trial;
use crate::controller::catalogue::find;
use crate::run::Score;
use crate::scenario::Scenario;
use crate::score::judge;
use crate::world::plan::Plan;
use crate::world::simulate;
use std::fmt::Write;
use std::time::Duration;

const SEEDS: u64 = 5;

/// A line for every run of ours at a steady load: what came of it, and what was to be expected.
pub(super) fn compared(
    trials: &[Trial],
    calibrations: &[Calibration],
    deadline: Duration,
) -> Result<String, String> {
    let mut text = String::new();
    for trial in trials.iter().filter(|trial| is_foreseen(trial.entry)) {
        let handler = trial.entry.handler;
        let known = calibrations.iter().find(|known| known.handler == handler);
        let known = known.ok_or("a run without a calibration")?;
        let forecast = Forecast::of(known, trial.run.offered / known.capacity, deadline)?;
        let p99 = trial.run.p99_ms.map_or_else(|| "–".into(), |ms| format!("{ms:.1} ms"));
        writeln!(
            text,
            "{:<4} {:<5} {:>6.3} of what is possible, simulated {:>6.3}; p99 {p99:>9}, simulated {:>6.1} ms",
            handler.name(),
            trial.entry.scenario.name(),
            trial.run.goodput_over_ceiling,
            forecast.goodput,
            forecast.p99_ms,
        )
        .expect("a string takes all");
    }
    Ok(text)
}

/// A single server layer, and clients who ask once.
fn is_foreseen(entry: Entry) -> bool {
    entry.stack == Stack::Backpressure && !entry.scenario.slows()
}

#[derive(Debug)]
struct Forecast {
    goodput: f64,
    p99_ms: f64,
}

impl Forecast {
    fn of(known: &Calibration, load: f64, deadline: Duration) -> Result<Self, String> {
        let plan = Plan::of(&scenario(known, load, deadline)?);
        let ours = find("ours").ok_or("ours is missing")?;
        let scores: Vec<Score> =
            (1..=SEEDS).map(|seed| judge(&plan, &simulate(&plan, &ours.make, seed)).0).collect();
        let mean = |of: fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        Ok(Self {
            goodput: mean(|score| score.goodput_over_ceiling),
            p99_ms: mean(|score| score.p99_over_uncontended) * alone(known) * 1e3,
        })
    }
}

/// Seconds a request takes that meets nobody.
fn alone(known: &Calibration) -> f64 {
    1.0 / known.capacity + known.handler.away().as_secs_f64() * f64::from(known.handler.rounds())
}

/// The handler on one core, as fast as it was found to be.
fn scenario(known: &Calibration, load: f64, deadline: Duration) -> Result<Scenario, String> {
    let rounds = known.handler.rounds();
    let delay = match known.handler {
        Handler::Cpu => String::new(),
        Handler::Mix => format!(
            "[[service.stage]]\nkind = 'delay'\ntime = {{ fixed = {} }}\n",
            known.handler.away().as_secs_f64()
        ),
    };
    let parts = format!(
        "[[service]]\nname = 'api'\nrounds = {rounds}\nrefusal = {}\n\
         [[service.stage]]\nkind = 'fifo'\ncores = 1\nvisible = true\ntime = {{ fixed = {} }}\n{delay}\
         [[stream]]\nload = {load}\npatience = {}\n",
        known.refusal.as_secs_f64(),
        1.0 / known.capacity / f64::from(rounds),
        deadline.as_secs_f64(),
    );
    Ok(Scenario { warmup: 5.0, ..Scenario::made_up(40.0, &parts)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_services_can_be_foreseen_and_lose_next_to_nothing() {
        for (handler, capacity) in [(Handler::Cpu, 197.0), (Handler::Mix, 246.0)] {
            let known = Calibration {
                handler,
                capacity,
                service: Duration::from_secs_f64(1.0 / capacity),
                refusal: Duration::from_micros(10),
                uncontended_p50: Duration::from_millis(5),
                uncontended_p99: Duration::from_millis(6),
                tower_limit: None,
            };
            let forecast = Forecast::of(&known, 2.0, Duration::from_secs(1)).unwrap();
            assert!((0.9..1.02).contains(&forecast.goodput), "{forecast:?}");
            assert!((5.0..200.0).contains(&forecast.p99_ms), "{forecast:?}");
        }
    }
}
