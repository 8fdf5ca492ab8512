//! The options of the suite.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use crate::controller::catalogue::{self, Entry};
use crate::scenario::{Scenario, library};

use super::no_harm;

/// Run every controller in every scenario, in virtual time, and score them
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these controllers
    #[arg(long, value_name = "NAME")]
    pub(super) controller: Vec<String>,
    /// Only these scenarios, by name or as files
    #[arg(long, value_name = "NAME|FILE")]
    pub(super) scenario: Vec<String>,
    /// Only the smoke scenarios that every build runs, compared with their golden figures
    #[arg(long, conflicts_with_all = ["controller", "scenario", "seeds", "comparison"])]
    pub(super) smoke: bool,
    /// List the scenarios in which ours does less useful work than no limit or than static-2c
    #[arg(long, conflicts_with_all = ["controller", "smoke", "comparison"])]
    pub(super) no_harm: bool,
    /// Seeds of each controller in each scenario
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) seeds: u64,
    /// Write every run to this file
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Update the tables of this document: docs/comparison.md
    #[arg(long, value_name = "FILE", conflicts_with_all = ["controller", "scenario"])]
    pub(super) comparison: Option<PathBuf>,
    /// List controllers and scenarios and run nothing
    #[arg(long)]
    pub(super) list: bool,
}

impl Options {
    pub(super) fn controllers(&self) -> Result<Vec<&'static Entry>, String> {
        if self.no_harm {
            return Ok(no_harm::COMPARED.iter().filter_map(|name| catalogue::find(name)).collect());
        }
        if self.controller.is_empty() {
            return Ok(catalogue::ALL.iter().collect());
        }
        let known = |name: &String| {
            let names: Vec<_> = catalogue::ALL.iter().map(|entry| entry.name).collect();
            let fault = || format!("no controller {name}; there are: {}", names.join(", "));
            catalogue::find(name).ok_or_else(fault)
        };
        self.controller.iter().map(known).collect()
    }

    pub(super) fn scenarios(&self) -> Result<Vec<Scenario>, String> {
        if self.scenario.is_empty() {
            return library::all();
        }
        self.scenario.iter().map(|name| library::find(name)).collect()
    }
}

/// All controllers and scenarios, with a line about each.
pub(super) fn list() -> Result<String, String> {
    let mut text = String::from("Controllers\n");
    let say = |text: &mut String, name: &str, says: &str| {
        writeln!(text, "  {name:<34} {says}").expect("writing to a string does not fail");
    };
    for entry in catalogue::ALL {
        say(&mut text, entry.name, entry.says);
    }
    text.push_str("\nScenarios\n");
    for scenario in library::all()? {
        say(&mut text, &format!("{} ({})", scenario.name, scenario.kind), &scenario.says);
    }
    Ok(text)
}
