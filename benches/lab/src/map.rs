//! The metastability map: which triggers a service does not come back from, without and with the layers.

#[cfg(test)]
mod boundary;
mod grid;
mod heat_map;
mod page;
mod result;
mod scenario;
mod table;
mod trial;

use crate::parallel;
use crate::report::Report;
use clap::Args;
use grid::Grid;
use result::Cell;
use scenario::Setting;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Where the page with the heat maps goes
    #[arg(long, default_value = "target/lab/map.html", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    report: Report,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    options.out.parent().map_or(Ok(()), fs::create_dir_all)?;
    let grid = Grid::of(options.quick);
    let setting = Setting { seed: options.report.seed, opaque: options.opaque };
    let cells = parallel::each("map", &grid.places(), |place| trial::trial(place, setting));
    let cells: Vec<Cell> = cells.into_iter().collect::<Result<_, String>>()?;
    fs::write(&options.out, page::page(&grid, setting, &cells))?;
    let shown = options.report.show(&table::render(&cells), &cells);
    println!("\n{}", options.out.display());
    shown
}
