//! The golden figures: those of the smoke scenarios at the last review, to the last digit.

use std::fmt::Write;

use crate::run::Run;

const GOLDEN: &str = include_str!("../../goldens/smoke.txt");

/// Every line that differs from the golden one, beside it.
pub(super) fn differences(runs: &[Run]) -> Vec<String> {
    let lines = lines(runs);
    let pairs = lines.lines().zip(GOLDEN.lines()).filter(|(found, golden)| found != golden);
    let mut told: Vec<String> =
        pairs.map(|(found, golden)| format!("found:  {found}\ngolden: {golden}")).collect();
    let [found, golden] = [&lines, GOLDEN].map(|text| text.lines().count());
    if found != golden {
        told.push(format!("{found} runs, and {golden} golden ones"));
    }
    told
}

/// One line per run.
fn lines(runs: &[Run]) -> String {
    runs.iter().fold(String::new(), |mut text, run| {
        let score = serde_json::to_string(&run.score).expect("a score is made of numbers");
        writeln!(text, "{} {} {score}", run.scenario, run.controller)
            .expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::runner::smoke;

    /// The bytes are the same in debug and in release; `cargo lab suite --smoke` compares the latter. After an
    /// intended change, `LAB_BLESS=1 cargo lab-test
    /// golden` writes the file.
    #[test]
    fn every_figure_of_the_smoke_scenarios_is_the_golden_one() {
        let runs = &smoke().1;
        if std::env::var_os("LAB_BLESS").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/smoke.txt");
            std::fs::write(path, lines(runs)).unwrap();
            return;
        }
        assert_eq!(differences(runs), Vec::<String>::new());
    }

    #[test]
    fn a_run_that_differs_in_its_last_digit_or_is_missing_is_reported() {
        let mut runs = smoke().1.clone();
        runs.truncate(2);
        let before = differences(&runs).len();
        runs[0].score.wasted = f64::from_bits(runs[0].score.wasted.to_bits() + 1);
        assert_eq!((before, differences(&runs).len()), (1, 2));
    }
}
