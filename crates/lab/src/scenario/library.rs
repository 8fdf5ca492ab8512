//! The scenarios that come with the lab.

use std::path::Path;

use super::Scenario;

const FILES: &[&str] = &[
    include_str!("../../scenarios/cpu-1.05x.toml"),
    include_str!("../../scenarios/cpu-1.2x.toml"),
    include_str!("../../scenarios/cpu-2x.toml"),
    include_str!("../../scenarios/cpu-5x.toml"),
    include_str!("../../scenarios/cpu-10x.toml"),
    include_str!("../../scenarios/cpu-50x.toml"),
    include_str!("../../scenarios/mix-1.2x.toml"),
    include_str!("../../scenarios/mix-2x.toml"),
    include_str!("../../scenarios/mix-10x.toml"),
    include_str!("../../scenarios/slots-exp-1.05x.toml"),
    include_str!("../../scenarios/slots-exp-1.2x.toml"),
    include_str!("../../scenarios/slots-exp-2x.toml"),
    include_str!("../../scenarios/slots-exp-5x.toml"),
    include_str!("../../scenarios/slots-exp-10x.toml"),
    include_str!("../../scenarios/slots-exp-50x.toml"),
    include_str!("../../scenarios/slots-fixed-2x.toml"),
    include_str!("../../scenarios/slots-fixed-10x.toml"),
    include_str!("../../scenarios/slots-lognormal-2x.toml"),
    include_str!("../../scenarios/slots-lognormal-10x.toml"),
    include_str!("../../scenarios/slots-pareto-2x.toml"),
    include_str!("../../scenarios/slots-pareto-10x.toml"),
    include_str!("../../scenarios/slots-bimodal-2x.toml"),
    include_str!("../../scenarios/slots-bimodal-10x.toml"),
    include_str!("../../scenarios/ps-2x.toml"),
    include_str!("../../scenarios/ps-10x.toml"),
    include_str!("../../scenarios/one-worker-fixed-2x.toml"),
    include_str!("../../scenarios/one-worker-fixed-10x.toml"),
    include_str!("../../scenarios/one-worker-exp-2x.toml"),
    include_str!("../../scenarios/one-worker-exp-10x.toml"),
    include_str!("../../scenarios/one-worker-hidden-2x.toml"),
    include_str!("../../scenarios/one-worker-hidden-10x.toml"),
    include_str!("../../scenarios/one-worker-mix-2x.toml"),
    include_str!("../../scenarios/ramp-cpu.toml"),
    include_str!("../../scenarios/ramp-slots.toml"),
    include_str!("../../scenarios/step-up-cpu.toml"),
    include_str!("../../scenarios/step-back-cpu.toml"),
    include_str!("../../scenarios/step-up-slots.toml"),
    include_str!("../../scenarios/step-back-slots.toml"),
    include_str!("../../scenarios/step-up-mix.toml"),
    include_str!("../../scenarios/step-back-mix.toml"),
    include_str!("../../scenarios/bursts-cpu.toml"),
    include_str!("../../scenarios/mmpp-cpu.toml"),
    include_str!("../../scenarios/bursts-slots.toml"),
    include_str!("../../scenarios/mmpp-slots.toml"),
    include_str!("../../scenarios/low-0.1-cpu.toml"),
    include_str!("../../scenarios/low-0.1-slots.toml"),
    include_str!("../../scenarios/low-1-cpu.toml"),
    include_str!("../../scenarios/low-1-slots.toml"),
    include_str!("../../scenarios/low-10-cpu.toml"),
    include_str!("../../scenarios/low-10-slots.toml"),
    include_str!("../../scenarios/low-50-cpu.toml"),
    include_str!("../../scenarios/low-50-slots.toml"),
    include_str!("../../scenarios/nine-tenths-cpu.toml"),
    include_str!("../../scenarios/nine-tenths-slots.toml"),
    include_str!("../../scenarios/nine-tenths-mix.toml"),
    include_str!("../../scenarios/nine-tenths-one-worker.toml"),
    include_str!("../../scenarios/cold-start-cpu.toml"),
    include_str!("../../scenarios/stall-cpu.toml"),
    include_str!("../../scenarios/pauses-cpu.toml"),
    include_str!("../../scenarios/cold-start-slots.toml"),
    include_str!("../../scenarios/stall-slots.toml"),
    include_str!("../../scenarios/pauses-slots.toml"),
    include_str!("../../scenarios/slower-elsewhere-visible.toml"),
    include_str!("../../scenarios/slower-work-visible.toml"),
    include_str!("../../scenarios/fewer-slots-visible.toml"),
    include_str!("../../scenarios/slower-elsewhere-opaque.toml"),
    include_str!("../../scenarios/slower-work-opaque.toml"),
    include_str!("../../scenarios/fewer-slots-opaque.toml"),
    include_str!("../../scenarios/retry-storm-cpu.toml"),
    include_str!("../../scenarios/retry-storm-budget-cpu.toml"),
    include_str!("../../scenarios/retry-storm-slots.toml"),
    include_str!("../../scenarios/retry-storm-budget-slots.toml"),
    include_str!("../../scenarios/herd-whole-seconds.toml"),
    include_str!("../../scenarios/herd-exact.toml"),
    include_str!("../../scenarios/herd-ours.toml"),
    include_str!("../../scenarios/promises.toml"),
    include_str!("../../scenarios/promises-cpu.toml"),
    include_str!("../../scenarios/noisy-neighbour-cpu.toml"),
    include_str!("../../scenarios/noisy-neighbour-slots.toml"),
    include_str!("../../scenarios/priority-inversion.toml"),
    include_str!("../../scenarios/priority-inversion-slots.toml"),
    include_str!("../../scenarios/mice-and-elephants-cpu.toml"),
    include_str!("../../scenarios/mice-and-elephants-slots.toml"),
    include_str!("../../scenarios/slow-consumers.toml"),
    include_str!("../../scenarios/churn.toml"),
    include_str!("../../scenarios/disconnects-cancels.toml"),
    include_str!("../../scenarios/disconnects-zombies.toml"),
    include_str!("../../scenarios/closed-loop-cpu.toml"),
    include_str!("../../scenarios/closed-loop-slots.toml"),
    include_str!("../../scenarios/chain.toml"),
    include_str!("../../scenarios/chain-retries.toml"),
    include_str!("../../scenarios/replicas-round-robin.toml"),
    include_str!("../../scenarios/slow-replica-round-robin.toml"),
    include_str!("../../scenarios/replicas-p2c.toml"),
    include_str!("../../scenarios/slow-replica-p2c.toml"),
    include_str!("../../scenarios/thrash-2x.toml"),
    include_str!("../../scenarios/thrash-5x.toml"),
    include_str!("../../scenarios/thrash-trigger.toml"),
    include_str!("../../scenarios/resonance-0.1-cpu.toml"),
    include_str!("../../scenarios/resonance-0.5-cpu.toml"),
    include_str!("../../scenarios/resonance-1-cpu.toml"),
    include_str!("../../scenarios/resonance-2-cpu.toml"),
    include_str!("../../scenarios/fast-failures-cpu.toml"),
    include_str!("../../scenarios/half-an-hour-cpu.toml"),
    include_str!("../../scenarios/drift-cpu.toml"),
    include_str!("../../scenarios/resonance-0.1-slots.toml"),
    include_str!("../../scenarios/resonance-0.5-slots.toml"),
    include_str!("../../scenarios/resonance-1-slots.toml"),
    include_str!("../../scenarios/resonance-2-slots.toml"),
    include_str!("../../scenarios/fast-failures-slots.toml"),
    include_str!("../../scenarios/half-an-hour-slots.toml"),
    include_str!("../../scenarios/drift-slots.toml"),
    include_str!("../../scenarios/wide-200.toml"),
    include_str!("../../scenarios/wide-500.toml"),
    include_str!("../../scenarios/wide-2000.toml"),
    include_str!("../../scenarios/wide-200-calm.toml"),
    include_str!("../../scenarios/failures-1-half-cpu.toml"),
    include_str!("../../scenarios/failures-1-1.2x-cpu.toml"),
    include_str!("../../scenarios/failures-1-2x-cpu.toml"),
    include_str!("../../scenarios/failures-2-half-cpu.toml"),
    include_str!("../../scenarios/failures-2-1.2x-cpu.toml"),
    include_str!("../../scenarios/failures-2-2x-cpu.toml"),
    include_str!("../../scenarios/failures-4-half-cpu.toml"),
    include_str!("../../scenarios/failures-4-1.2x-cpu.toml"),
    include_str!("../../scenarios/failures-4-2x-cpu.toml"),
    include_str!("../../scenarios/failures-6-half-cpu.toml"),
    include_str!("../../scenarios/failures-6-1.2x-cpu.toml"),
    include_str!("../../scenarios/failures-6-2x-cpu.toml"),
    include_str!("../../scenarios/failures-20-half-cpu.toml"),
    include_str!("../../scenarios/failures-20-1.2x-cpu.toml"),
    include_str!("../../scenarios/failures-20-2x-cpu.toml"),
    include_str!("../../scenarios/failures-end-cpu.toml"),
    include_str!("../../scenarios/stalled-readers-cpu.toml"),
    include_str!("../../scenarios/watchers-cpu.toml"),
    include_str!("../../scenarios/hanging-route-cpu.toml"),
    include_str!("../../scenarios/slow-readers-cpu.toml"),
    include_str!("../../scenarios/slow-uploads-cpu.toml"),
    include_str!("../../scenarios/long-polls-cpu.toml"),
    include_str!("../../scenarios/hanging-requests-left-cpu.toml"),
    include_str!("../../scenarios/failures-1-half-slots.toml"),
    include_str!("../../scenarios/failures-1-1.2x-slots.toml"),
    include_str!("../../scenarios/failures-1-2x-slots.toml"),
    include_str!("../../scenarios/failures-2-half-slots.toml"),
    include_str!("../../scenarios/failures-2-1.2x-slots.toml"),
    include_str!("../../scenarios/failures-2-2x-slots.toml"),
    include_str!("../../scenarios/failures-4-half-slots.toml"),
    include_str!("../../scenarios/failures-4-1.2x-slots.toml"),
    include_str!("../../scenarios/failures-4-2x-slots.toml"),
    include_str!("../../scenarios/failures-6-half-slots.toml"),
    include_str!("../../scenarios/failures-6-1.2x-slots.toml"),
    include_str!("../../scenarios/failures-6-2x-slots.toml"),
    include_str!("../../scenarios/failures-20-half-slots.toml"),
    include_str!("../../scenarios/failures-20-1.2x-slots.toml"),
    include_str!("../../scenarios/failures-20-2x-slots.toml"),
    include_str!("../../scenarios/failures-end-slots.toml"),
    include_str!("../../scenarios/stalled-readers-slots.toml"),
    include_str!("../../scenarios/watchers-slots.toml"),
    include_str!("../../scenarios/hanging-route-slots.toml"),
    include_str!("../../scenarios/slow-readers-slots.toml"),
    include_str!("../../scenarios/slow-uploads-slots.toml"),
    include_str!("../../scenarios/long-polls-slots.toml"),
    include_str!("../../scenarios/hanging-requests-left-slots.toml"),
    include_str!("../../scenarios/thin-mixed.toml"),
    include_str!("../../scenarios/thin-long-polls.toml"),
    include_str!("../../scenarios/thin-slow-readers.toml"),
    include_str!("../../scenarios/thin-cold-start.toml"),
    include_str!("../../scenarios/thin-cancels.toml"),
    include_str!("../../scenarios/priorities-in-phase.toml"),
    include_str!("../../scenarios/rude-and-polite-cpu.toml"),
    include_str!("../../scenarios/rude-and-polite-slots.toml"),
    include_str!("../../scenarios/replica-lost-and-back-cpu.toml"),
    include_str!("../../scenarios/replica-lost-and-back-busy-cpu.toml"),
    include_str!("../../scenarios/replica-lost-and-back-slots.toml"),
    include_str!("../../scenarios/replica-lost-and-back-busy-slots.toml"),
];

/// All of them, in the order of the tables.
///
/// # Errors
/// What is wrong with one.
pub(crate) fn all() -> Result<Vec<Scenario>, String> {
    FILES.iter().map(|text| Scenario::parse(text)).collect()
}

/// One of them by its name, or any other by its file.
///
/// # Errors
/// When there is none, or what is wrong with it.
pub(crate) fn find(name: &str) -> Result<Scenario, String> {
    if name.ends_with(".toml") {
        return Scenario::read(Path::new(name));
    }
    let found = all()?.into_iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("no scenario {name}; lab suite --list says which there are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_sound_and_has_a_name_of_its_own() {
        let all = all().unwrap();
        let mut names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn the_example_of_the_readme_is_sound() {
        let readme = include_str!("../../scenarios/README.md");
        let example = readme.split("```").find_map(|part| part.strip_prefix("toml\n"));
        Scenario::parse(example.unwrap()).unwrap();
    }

    #[test]
    fn no_file_is_left_out() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let scenarios = names.filter(|name| name.extension().is_some_and(|kind| kind == "toml"));
        assert_eq!(scenarios.count(), FILES.len());
    }
}
