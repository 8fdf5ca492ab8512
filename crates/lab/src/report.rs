//! What a command leaves behind besides its words: a page, and the figures as JSON.

use clap::Args;
use serde::Serialize;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What every page begins with: its colours, its letters, its tables and its charts.
pub(crate) const HEAD: &str = include_str!("report/head.html");

/// Makes the folder of a file, before the time is spent on what goes into it.
pub(crate) fn make_room(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Where a report goes, and what it is drawn from.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Where the page goes
    // Each command has a default of its own.
    #[arg(long, value_name = "FILE", required = false)]
    out: PathBuf,
    /// Where the figures are written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of all that is drawn
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

impl Report {
    pub(crate) fn make_room(&self) -> io::Result<()> {
        make_room(&self.out)
    }

    /// Prints the table, and writes the page and the figures behind it.
    pub(crate) fn show(
        &self,
        table: &str,
        page: &str,
        figures: &impl Serialize,
    ) -> Result<ExitCode, Box<dyn Error>> {
        print!("{table}");
        fs::write(&self.out, page)?;
        if let Some(path) = &self.json {
            fs::write(path, serde_json::to_string_pretty(figures)?)?;
        }
        println!("\n{}", self.out.display());
        Ok(ExitCode::SUCCESS)
    }
}
