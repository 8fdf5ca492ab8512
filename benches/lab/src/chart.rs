//! The charts of the pages on algorithms, drawn from simulated runs.

mod client;
mod figure;
mod scale;
mod server;
mod tenants;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use figure::Figure;

/// Draw the charts of docs/algorithms from simulated runs
///
/// Each chart is an SVG file of a few kilobytes. It has colours for light and for dark pages.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A chart by name; all of them by default
    name: Option<String>,
    /// Folder in which the charts are written
    #[arg(long, default_value = "docs/img", value_name = "FOLDER")]
    out: PathBuf,
}

/// A chart: the name of its file, and how it is drawn.
type Chart = (&'static str, fn() -> Result<Figure, String>);

const CHARTS: [Chart; 11] = [
    ("adaptive-visible", server::visible_queue),
    ("adaptive-hidden", server::hidden_queue),
    ("slower-or-fuller", server::slower_elsewhere),
    ("aimd", server::aimd),
    ("herd", server::herd),
    ("retry-budget", server::retries),
    ("fair-shares", tenants::tenants),
    ("quota", client::quota),
    ("cooldown", client::cooldown),
    ("breaker", client::breaker),
    ("throttle", client::throttle),
];

pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let is_wanted = |name: &str| options.name.as_deref().is_none_or(|wanted| wanted == name);
    let mut wanted = CHARTS.iter().filter(|(name, _)| is_wanted(name)).peekable();
    if wanted.peek().is_none() {
        let names: Vec<&str> = CHARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("the charts are {}", names.join(", ")).into());
    }
    fs::create_dir_all(&options.out)?;
    for (name, draw) in wanted {
        let path = options.out.join(name).with_extension("svg");
        fs::write(&path, draw()?.svg())?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
