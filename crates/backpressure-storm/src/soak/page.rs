//! The page that a soak writes.

use super::Soak;
use std::fmt::Write;

pub(super) fn render(soak: &Soak, minutes: f64) -> String {
    let mut page = String::new();
    write(soak, minutes, &mut page).expect("a string takes all that is written to it");
    page
}

fn write(soak: &Soak, minutes: f64, page: &mut String) -> std::fmt::Result {
    let tally = &soak.tally;
    let total = tally.served() + tally.rejected();
    writeln!(page, "# A soak of {:.1} minutes\n", soak.lasted.as_secs_f64() / 60.0)?;
    writeln!(page, "Written by the command that repeats it:\n")?;
    writeln!(
        page,
        "```console\n$ cargo run --release -- soak --minutes {minutes} --out docs/soak.md\n```\n"
    )?;
    writeln!(
        page,
        "An axum service with one worker and 2 ms of CPU a request, behind `AdmissionLayer::adaptive` with its defaults, \
         gets five times its capacity of {:.0} requests a second over HTTP/1 and HTTP/2 on loopback. One client in ten \
         leaves; others stall, send slowly, send nonsense, send eight requests at once, or reset their streams. Service \
         and clients are one process, with a CPU for each where there are two. The load average of the machine was {} \
         before, and {} at the end.\n",
        soak.capacity, soak.machine.0, soak.machine.1
    )?;
    let faults = soak.faults();
    match faults.is_empty() {
        true => writeln!(
            page,
            "**Passed**: each of {} rejections among {total} responses had a reason and a time to come back, memory was \
             flat, and nothing was left in flight.\n",
            tally.rejected()
        )?,
        false => writeln!(page, "**Failed**:\n\n- {}\n", faults.join("\n- "))?,
    }
    writeln!(page, "{tally}")?;
    if let Some((before, after)) = soak.memory.before_and_after() {
        writeln!(
            page,
            "Resident memory of the process, clients included: {before} kB in the second fifth of the time, {after} kB in \
             the last (medians).\n"
        )?;
    }
    writeln!(
        page,
        "| after s | resident kB | in flight | apart | queued | limit |\n|---|---|---|---|---|---|"
    )?;
    for sample in soak.memory.samples.iter().skip(4).step_by(5) {
        let (state, resident) = (sample.state, sample.resident_kb.unwrap_or(0));
        writeln!(
            page,
            "| {:.0} | {resident} | {} | {} | {} | {} |",
            sample.at.as_secs_f64(),
            state.in_flight,
            state.apart,
            state.queued,
            state.limit
        )?;
    }
    Ok(())
}
