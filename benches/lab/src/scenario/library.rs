//! The scenarios that come with the lab.

use std::path::Path;

use super::Scenario;

/// The contents of the files of these names.
macro_rules! files {
    ($($name:literal)*) => {
        &[$(include_str!(concat!("../../scenarios/", $name, ".toml"))),*]
    };
}

const FILES: &[&str] = files! {
    "cpu-1.05x" "cpu-1.2x" "cpu-2x" "cpu-5x" "cpu-10x" "cpu-50x" "mix-1.2x" "mix-2x" "mix-10x"
    "slots-exp-1.05x" "slots-exp-1.2x" "slots-exp-2x" "slots-exp-5x" "slots-exp-10x"
    "slots-exp-50x" "slots-fixed-2x" "slots-fixed-10x" "slots-lognormal-2x"
    "slots-lognormal-10x" "slots-pareto-2x" "slots-pareto-10x" "slots-bimodal-2x"
    "slots-bimodal-10x" "ps-2x" "ps-10x" "one-worker-fixed-2x" "one-worker-fixed-10x"
    "one-worker-exp-2x" "one-worker-exp-10x" "one-worker-hidden-2x" "one-worker-hidden-10x"
    "one-worker-mix-2x" "ramp-cpu" "ramp-slots" "step-up-cpu" "step-back-cpu" "step-up-slots"
    "step-back-slots" "step-up-mix" "step-back-mix" "bursts-cpu" "mmpp-cpu" "bursts-slots"
    "mmpp-slots" "low-0.1-cpu" "low-0.1-slots" "low-1-cpu" "low-1-slots" "low-10-cpu"
    "low-10-slots" "low-50-cpu" "low-50-slots" "nine-tenths-cpu" "nine-tenths-slots"
    "nine-tenths-mix" "nine-tenths-one-worker" "cold-start-cpu" "stall-cpu" "pauses-cpu"
    "cold-start-slots" "stall-slots" "pauses-slots" "slower-elsewhere-visible"
    "slower-work-visible" "fewer-slots-visible" "slower-elsewhere-opaque" "slower-work-opaque"
    "fewer-slots-opaque" "retry-storm-cpu" "retry-storm-budget-cpu" "retry-storm-slots"
    "retry-storm-budget-slots" "herd-whole-seconds" "herd-exact" "herd-ours" "promises"
    "promises-cpu" "noisy-neighbour-cpu" "noisy-neighbour-slots" "priority-inversion"
    "priority-inversion-slots" "mice-and-elephants-cpu" "mice-and-elephants-slots"
    "slow-consumers" "churn" "disconnects-cancels" "disconnects-zombies" "closed-loop-cpu"
    "closed-loop-slots" "chain" "chain-retries" "replicas-round-robin"
    "slow-replica-round-robin" "replicas-p2c" "slow-replica-p2c" "thrash-2x" "thrash-5x"
    "thrash-trigger" "resonance-0.1-cpu" "resonance-0.5-cpu" "resonance-1-cpu" "resonance-2-cpu"
    "fast-failures-cpu" "half-an-hour-cpu" "drift-cpu" "resonance-0.1-slots"
    "resonance-0.5-slots" "resonance-1-slots" "resonance-2-slots" "fast-failures-slots"
    "half-an-hour-slots" "drift-slots" "wide-200" "wide-500" "wide-2000" "wide-200-calm"
    "failures-1-half-cpu" "failures-1-1.2x-cpu" "failures-1-2x-cpu" "failures-2-half-cpu"
    "failures-2-1.2x-cpu" "failures-2-2x-cpu" "failures-4-half-cpu" "failures-4-1.2x-cpu"
    "failures-4-2x-cpu" "failures-6-half-cpu" "failures-6-1.2x-cpu" "failures-6-2x-cpu"
    "failures-20-half-cpu" "failures-20-1.2x-cpu" "failures-20-2x-cpu" "failures-end-cpu"
    "stalled-readers-cpu" "watchers-cpu" "hanging-route-cpu" "slow-readers-cpu"
    "slow-uploads-cpu" "long-polls-cpu" "hanging-requests-left-cpu" "failures-1-half-slots"
    "failures-1-1.2x-slots" "failures-1-2x-slots" "failures-2-half-slots"
    "failures-2-1.2x-slots" "failures-2-2x-slots" "failures-4-half-slots"
    "failures-4-1.2x-slots" "failures-4-2x-slots" "failures-6-half-slots"
    "failures-6-1.2x-slots" "failures-6-2x-slots" "failures-20-half-slots"
    "failures-20-1.2x-slots" "failures-20-2x-slots" "failures-end-slots" "stalled-readers-slots"
    "watchers-slots" "hanging-route-slots" "slow-readers-slots" "slow-uploads-slots"
    "long-polls-slots" "hanging-requests-left-slots" "thin-mixed" "thin-long-polls"
    "thin-slow-readers" "thin-cold-start" "thin-cancels" "priorities-in-phase"
    "rude-and-polite-cpu" "rude-and-polite-slots" "replica-lost-and-back-cpu"
    "replica-lost-and-back-busy-cpu" "replica-lost-and-back-slots"
    "replica-lost-and-back-busy-slots"
};

/// All scenarios, in the order of the tables.
///
/// # Errors
/// What is wrong with one of them.
pub(crate) fn all() -> Result<Vec<Scenario>, String> {
    FILES.iter().map(|text| Scenario::parse(text)).collect()
}

/// A scenario of the library by its name, or any other by its file.
///
/// # Errors
/// That there is none, or what is wrong with it.
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
    fn every_scenario_is_valid_and_has_a_name_of_its_own() {
        let all = all().unwrap();
        let mut names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn the_example_of_the_readme_is_valid() {
        let readme = include_str!("../../scenarios/README.md");
        let example = readme.split("```").find_map(|part| part.strip_prefix("toml\n"));
        Scenario::parse(example.unwrap()).unwrap();
    }

    #[test]
    fn every_file_is_in_the_library() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let scenarios = names.filter(|name| name.extension().is_some_and(|kind| kind == "toml"));
        assert_eq!(scenarios.count(), FILES.len());
    }
}
