//! What is run, in which order, and for how long.

use super::handler::Handler;
use super::stack::Stack;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What a user of the brown-out asks for all the time, over capacity: busy, and far from doomed.
pub(super) const BASE: f64 = 0.8;
/// How many times longer every millisecond of work takes during the brown-out.
pub(super) const SLOWER: u64 = 8;

/// Storm a real service on loopback, with and without the layers, and report what its users got.
///
/// Starts an axum service on one thread (pinned to a CPU of its own where there are two), finds how many requests a second
/// it can do (C), and sends it 0.5, 1, 2, 5 and 10 times that. Requests leave at the times of a Poisson process whatever
/// became of those before (open loop), and latency is measured from when a request was due, so that a stalled server is
/// charged for every request it kept from leaving. The load is made by another thread, on another CPU; how much of that CPU
/// it took is reported.
///
/// STACKS: each in front of the same two handlers. `bare` is nothing. `tower` is tower's own ConcurrencyLimit and LoadShed,
/// with the best fixed limit, found at the start of the storm. `backpressure` is our admission layer with nothing
/// configured. `backpressure+client` is the same, and clients that go through our retry layer.
///
/// HANDLERS: `cpu` burns 5 ms of CPU and never awaits, which hides its queue from a limit that only counts: a connection
/// runs its handler to the end before the next one is even read. `mix` does four times 1 ms of CPU and 10 ms of sleep.
///
/// BROWN-OUT (mix only): 0.8 C all the time; for ten seconds every millisecond of work takes eight. Clients send again at
/// once whatever fails, up to four times in all (through the retry layer in `backpressure+client`). What is asked for is
/// whether the service comes back by itself when its capacity does.
///
/// MEASURES: an answer is good when it is a 200 within one second of the attempt's start. Goodput is good answers a second,
/// and is put over what is physically possible, C·g*: turning work away costs CPU too, and r, the cost of one refusal over
/// the cost of one service, is measured in the same storm (g* = min(N, (1 − N·r)/(1 − r)) for an offered load of N·C).
/// A step is left to settle before it is measured: one second, or the time after which the queue of a service that refuses
/// nothing is longer than the deadline (two seconds at 2×). Percentiles are over good answers. Recovery is the time from the
/// end of the brown-out until a second's goodput is 95 % of what was asked for in it, and 90 % from there to the end.
///
/// OUTPUT: a table, and in the output directory `report.html` (one file, no network) and `report.json`: a list of runs
/// {scenario, handler, stack, offered, goodput, goodput_over_ceiling, p50_ms, p99_ms, p99_over_uncontended, shed,
/// attempts_per_request, recovered_s}, where offered, goodput and shed (attempts refused) are per second, and what was not
/// there to be measured is null. Interrupted (^C), it reports the runs that were finished.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Make every time five times shorter, the deadline included: a look in under a minute, and noisier
    #[arg(long)]
    pub(super) quick: bool,
    /// Only these handlers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "HANDLER")]
    pub(super) handler: Vec<Handler>,
    /// Only these stacks
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STACK")]
    pub(super) stack: Vec<Stack>,
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO")]
    pub(super) scenario: Vec<Scenario>,
    /// Where the report goes
    #[arg(long, default_value = "target/storm", value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Seed of the arrival times; every stack gets the same ones
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(super) seed: u64,
}

/// What is done to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    Half,
    One,
    Two,
    Five,
    Ten,
    BrownOut,
}

impl Scenario {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Half => "0.5x",
            Self::One => "1x",
            Self::Two => "2x",
            Self::Five => "5x",
            Self::Ten => "10x",
            Self::BrownOut => "brown-out",
        }
    }

    /// The load it offers, over capacity.
    pub(super) const fn load(self) -> f64 {
        match self {
            Self::Half => 0.5,
            Self::One => 1.0,
            Self::Two => 2.0,
            Self::Five => 5.0,
            Self::Ten => 10.0,
            Self::BrownOut => BASE,
        }
    }
}

impl ValueEnum for Scenario {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Half,
            Self::One,
            Self::Two,
            Self::Five,
            Self::Ten,
            Self::BrownOut,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// One run of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) handler: Handler,
    pub(super) scenario: Scenario,
    pub(super) stack: Stack,
}

/// The runs asked for: all stacks of a scenario one after the other, so that what drifts drifts for all of them.
pub(super) fn entries(options: &Options) -> Result<Vec<Entry>, String> {
    let stacks = chosen(&options.stack);
    let entries: Vec<Entry> = chosen(&options.handler)
        .into_iter()
        .flat_map(|handler| {
            chosen(&options.scenario)
                .into_iter()
                .map(move |scenario| (handler, scenario))
        })
        .filter(|pair| *pair != (Handler::Cpu, Scenario::BrownOut))
        .flat_map(|(handler, scenario)| {
            stacks.iter().map(move |&stack| Entry {
                handler,
                scenario,
                stack,
            })
        })
        .collect();
    if entries.is_empty() {
        return Err("nothing to run: the brown-out is for the handler mix only".into());
    }
    Ok(entries)
}

fn chosen<T: ValueEnum + Ord>(asked: &[T]) -> Vec<T> {
    let mut chosen = if asked.is_empty() {
        T::value_variants().to_vec()
    } else {
        asked.to_vec()
    };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(handler: &[Handler], scenario: &[Scenario]) -> Options {
        let (handler, scenario) = (handler.to_vec(), scenario.to_vec());
        Options {
            quick: true,
            handler,
            stack: vec![],
            scenario,
            out: PathBuf::new(),
            seed: 1,
        }
    }

    #[test]
    fn everything_is_run_when_nothing_is_chosen() {
        let stacks = Stack::value_variants().len();
        assert_eq!(entries(&options(&[], &[])).unwrap().len(), 11 * stacks);
    }

    #[test]
    fn a_choice_made_twice_is_run_once() {
        let twice = options(&[Handler::Mix, Handler::Mix], &[Scenario::Two]);
        assert_eq!(
            entries(&twice).unwrap().len(),
            Stack::value_variants().len()
        );
    }

    #[test]
    fn a_plan_with_nothing_in_it_is_an_error() {
        assert!(entries(&options(&[Handler::Cpu], &[Scenario::BrownOut])).is_err());
    }
}
