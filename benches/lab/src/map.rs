//! The metastability map: triggers that a service does not recover from, without and with the layers.

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

/// Find triggers that a service does not recover from, without and with the layers
///
/// A simulated service is made slower, or gets more requests, for a while. Which triggers leave it down
/// afterwards depends on the retries of its clients and on the layers in use.
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
