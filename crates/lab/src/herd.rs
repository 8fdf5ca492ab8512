//! The herd: ten thousand refused at once, and how they get in.

mod fate;
mod page;
mod service;
mod table;
mod trial;
mod word;

use crate::parallel;
use clap::Args;
use fate::Fate;
use service::IDEAL;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Let ten thousand be refused at once, and see how they come back
///
/// A simulated service with half its capacity spare turns away a crowd. What it tells them, and whether they listen,
/// decides how long it takes until all are served.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the page goes
    #[arg(long, default_value = "target/lab/herd.html", value_name = "FILE")]
    out: PathBuf,
    /// Where the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of all that is drawn
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(parent) = options.out.parent() {
        fs::create_dir_all(parent)?;
    }
    let fates =
        parallel::each("herd", &trial::pairings(), |pairing| trial::trial(pairing, options.seed));
    let fates: Vec<Fate> = fates.into_iter().collect::<Result<_, String>>()?;
    print!("{}", table::render(&fates));
    page::write(&fates, IDEAL, &options.out)?;
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&fates)?)?;
    }
    println!("\n{}", options.out.display());
    Ok(ExitCode::SUCCESS)
}
