//! What every command prints and writes: a table, and the figures behind it as JSON.

use clap::Args;
use serde::Serialize;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the figures are written, and the seed that they are drawn from.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seed of every random number
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

impl Report {
    /// Prints the table and writes the figures behind it.
    pub(crate) fn show(
        &self,
        table: &str,
        figures: &impl Serialize,
    ) -> Result<ExitCode, Box<dyn Error>> {
        print!("{table}");
        if let Some(path) = &self.json {
            fs::write(path, serde_json::to_string_pretty(figures)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
