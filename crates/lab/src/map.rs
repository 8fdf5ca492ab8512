//! The metastability map: which triggers a service does not come back from, without and with the layers.

#[cfg(test)]
mod boundary;
mod grid;
mod page;
mod service;
mod table;
mod trial;
mod verdict;

use crate::parallel;
use clap::Args;
use grid::Grid;
use service::Setting;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use verdict::Cell;

/// Try what a service does not come back from, without and with the layers
///
/// A simulated service is made slower, or asked for more, for a while. Which triggers leave it down when they are over
/// depends on what the clients do and on which of the layers there are.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A coarser map, in seconds
    #[arg(long)]
    quick: bool,
    /// Hide the bottleneck behind an await, where only latency shows that it is full
    #[arg(long)]
    opaque: bool,
    /// Where the page goes
    #[arg(long, default_value = "target/lab/map.html", value_name = "FILE")]
    out: PathBuf,
    /// Where every cell is written as JSON
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
    let grid = Grid::of(options.quick);
    let setting = Setting { seed: options.seed, opaque: options.opaque };
    let cells = parallel::each("map", &grid.places(), |place| trial::trial(place, setting));
    let cells: Vec<Cell> = cells.into_iter().collect::<Result<_, String>>()?;
    print!("{}", table::render(&cells));
    page::write(&grid, setting, &cells, &options.out)?;
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&cells)?)?;
    }
    println!("\n{}", options.out.display());
    Ok(ExitCode::SUCCESS)
}
