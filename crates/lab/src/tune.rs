//! The tuner: how good can each published limit be made by somebody who sets its options well?
//!
//! It searches on scenarios and seeds that do not judge, and then judges on the others. Only what
//! can be set from outside is searched. Ours has nothing to set but the bounds of its queue; what
//! is constant in it is no option, and is not made one for the sake of a search.

mod search;
mod split;
mod table;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::controller::configured::{self, Family};

use search::search;
use split::Split;

/// Search the options of the published limits, and judge the best on what the search never saw
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these families
    #[arg(long, value_name = "NAME")]
    family: Vec<String>,
    /// How many settings are tried of each
    #[arg(long, default_value_t = 48, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tries: u32,
    /// How many seeds each
    #[arg(long, default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Seed of the search itself
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Where what was found is written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let split = Split::of_the_library(options.seeds)?;
    let families = chosen(&options.family)?;
    println!("{}\n\n{}", split.says(), table::HEADER);
    let found: Vec<_> = families
        .into_iter()
        .map(|family| {
            let found = search(family, &split, options.tries, options.seed);
            println!("{}", table::render(&found));
            found
        })
        .collect();
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&found)? + "\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Family>, String> {
    if names.is_empty() {
        return Ok(configured::ALL.iter().collect());
    }
    let known = |name: &String| {
        let there_are: Vec<_> = configured::ALL.iter().map(|family| family.name).collect();
        let found = configured::ALL.iter().find(|family| family.name == name);
        found.ok_or_else(|| format!("no family {name}; there are: {}", there_are.join(", ")))
    };
    names.iter().map(known).collect()
}
