//! The report: the runs as JSON, and a page.

pub(crate) mod charts;
pub(crate) mod page;

use crate::findings::Findings;
use crate::score::Run;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Makes the directory of the report before anything is run.
pub(crate) fn prepare(out: &Path) -> Result<(), String> {
    fs::create_dir_all(out).map_err(|error| format!("cannot write to {}: {error}", out.display()))
}

/// Writes the report and returns the path of its page.
pub(crate) fn write(out: &Path, findings: &Findings) -> io::Result<PathBuf> {
    let runs: Vec<&Run> = findings.trials.iter().map(|trial| &trial.run).collect();
    fs::write(out.join("report.json"), serde_json::to_string_pretty(&runs)?)?;
    let page = out.join("report.html");
    fs::write(&page, page::page(findings))?;
    Ok(page)
}
