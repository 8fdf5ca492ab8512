//! `storm URL`: does to a user's own service what the main job does to the demo.

mod attempts;
mod baseline;
mod brown_out;
mod call;
mod capacity;
mod connections;
mod dial;
mod failure;
mod kind;
mod measure;
pub(crate) mod options;
mod outcome;
mod page;
mod phases;
mod recovery;
mod report;
mod rest;
mod sentences;
mod service_process;
mod steps;
mod storm;
mod tally;
mod target;
mod telling;
mod trigger;
mod truth;
mod verdict;

use self::options::UrlOptions;
use self::storm::Storm;
use self::target::Target;
use self::verdict::Verdict;
use crate::Outcome;
use std::fs;
use std::process::ExitCode;
use tokio::time::timeout;

/// Runs the storm, prints its verdict and writes its report.
pub(crate) fn run(options: &UrlOptions) -> Outcome<ExitCode> {
    options.validate()?;
    let target = Target::of(options)?;
    crate::report::prepare(&options.out)?;
    let mut storm = Storm::new(options, &target);
    let finished = crate::runtime()?.block_on(until_interrupted(options, target, &mut storm));
    if storm.search.is_empty() && storm.steps.is_empty() {
        finished?;
        if storm.interrupted {
            return Ok(crate::interrupted_early());
        }
        return Err("--time-limit was reached before anything was measured".into());
    }
    let verdict = Verdict::of(&storm);
    let json = report::json(&storm, &verdict)?;
    fs::write(options.out.join("report.json"), &json)?;
    let page = options.out.join("report.html");
    fs::write(&page, page::page(&storm, &verdict))?;
    if options.json {
        println!("{json}");
    } else {
        print!("{}\n{}\n", report::render(&storm, &verdict), page.display());
    }
    finished?;
    Ok(if storm.interrupted { ExitCode::from(crate::INTERRUPTED) } else { ExitCode::SUCCESS })
}

async fn until_interrupted(options: &UrlOptions, target: Target, storm: &mut Storm) -> Outcome<()> {
    let finished = tokio::select! {
        finished = timeout(options.time_limit, storm.run(options, target)) => Some(finished),
        () = crate::interrupt::interrupted() => None,
    };
    storm.interrupted = finished.is_none();
    storm.out_of_time = matches!(finished, Some(Err(_)));
    finished.and_then(Result::ok).unwrap_or(Ok(()))
}
