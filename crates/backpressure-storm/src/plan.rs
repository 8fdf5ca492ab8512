//! The runs of a storm and their order.

use crate::demo::DemoOptions;
use crate::handler::Handler;
use crate::policy::PolicyCommand;
use crate::scenario::{QUICK_SCENARIOS, Scenario};
use crate::serve::ServeOptions;
use crate::soak::SoakOptions;
use crate::stack::Stack;
use crate::url_storm::options::UrlOptions;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Overload a real service on loopback, without and with the layers
#[derive(Debug, Parser)]
#[command(name = "storm", version, after_long_help = include_str!("help.txt"))]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Only 2x, 10x and a shorter brown-out, unless scenarios are named: takes two minutes, with more noise
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these handlers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "HANDLER")]
    pub(crate) handler: Vec<Handler>,
    /// Only these stacks
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STACK")]
    pub(crate) stack: Vec<Stack>,
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO")]
    pub(crate) scenario: Vec<Scenario>,
    /// Where the report goes
    #[arg(long, default_value = "target/storm", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Seed of the arrival times; every stack gets the same ones
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

#[cfg(test)]
impl Options {
    /// The command of a command line, without the name of the program.
    pub(crate) fn command(arguments: &[&str]) -> Result<Command, String> {
        let line = std::iter::once(&"storm").chain(arguments);
        let options = Self::try_parse_from(line).map_err(|error| error.to_string())?;
        options.command.ok_or_else(|| "no command".to_owned())
    }
}

/// What runs instead of the storm.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Overload the service for minutes with clients that leave, stall, pipeline, reset and send nonsense, and look for
    /// what is left over
    Soak(SoakOptions),
    /// Do to a service of your own what the main job does to the demo: find its capacity, overload it, and say
    /// whether it stays up, comes back, and tells the truth in Retry-After
    Storm(Box<UrlOptions>),
    /// Start a service, its dependency, its clients and the dashboard, with a page to overload it by hand
    Serve(ServeOptions),
    /// Serve the demo service on a port, to try `storm URL` on
    Demo(DemoOptions),
    /// Check a policy file, or print its format
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) handler: Handler,
    pub(crate) scenario: Scenario,
    pub(crate) stack: Stack,
}

/// The runs asked for. All stacks of a scenario run one after the other, so that slow changes of the machine
/// affect all of them.
pub(crate) fn entries(options: &Options) -> Result<Vec<Entry>, String> {
    let stacks = chosen(&options.stack);
    let scenarios = match options.scenario.as_slice() {
        [] if options.quick => QUICK_SCENARIOS.to_vec(),
        asked => chosen(asked),
    };
    let entries: Vec<Entry> = chosen(&options.handler)
        .into_iter()
        .flat_map(|handler| scenarios.clone().into_iter().map(move |scenario| (handler, scenario)))
        .filter(|pair| *pair != (Handler::Cpu, Scenario::BrownOut))
        .flat_map(|(handler, scenario)| {
            stacks.iter().map(move |&stack| Entry { handler, scenario, stack })
        })
        .collect();
    if entries.is_empty() {
        return Err("nothing to run: the brown-out is for the handler mix only".into());
    }
    Ok(entries)
}

fn chosen<T: ValueEnum + Ord>(asked: &[T]) -> Vec<T> {
    let mut chosen = if asked.is_empty() { T::value_variants().to_vec() } else { asked.to_vec() };
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
            command: None,
            quick: false,
            handler,
            stack: vec![],
            scenario,
            out: PathBuf::new(),
            seed: 1,
        }
    }

    #[test]
    fn everything_is_run_by_default() {
        let stacks = Stack::value_variants().len();
        assert_eq!(entries(&options(&[], &[])).unwrap().len(), 11 * stacks);
    }

    #[test]
    fn a_quick_storm_leaves_out_loads_unless_they_are_named() {
        let quick = |scenario: &[Scenario]| Options { quick: true, ..options(&[], scenario) };
        let stacks = Stack::value_variants().len();
        assert_eq!(entries(&quick(&[])).unwrap().len(), 5 * stacks);
        assert_eq!(entries(&quick(&[Scenario::Five])).unwrap().len(), 2 * stacks);
    }

    #[test]
    fn an_option_given_twice_is_run_once() {
        let twice = options(&[Handler::Mix, Handler::Mix], &[Scenario::Two]);
        assert_eq!(entries(&twice).unwrap().len(), Stack::value_variants().len());
    }

    #[test]
    fn an_empty_plan_is_an_error() {
        assert!(entries(&options(&[Handler::Cpu], &[Scenario::BrownOut])).is_err());
    }
}
