//! The monitoring kit in docs/operations names what there is.

use std::collections::BTreeSet;
use std::process::Command;

const RULES: &str = include_str!("../../docs/operations/rules.yml");
const RULES_TEST: &str = include_str!("../../docs/operations/rules.test.yml");
const DASHBOARD: &str = include_str!("../../docs/operations/dashboard.json");
const RUNBOOK: &str = include_str!("../../docs/operations/README.md");
/// A test scrapes each metric in this table from a live exporter.
const METRICS: &str = include_str!("../../docs/metrics.md");

/// The names of our metrics in a text, without the endings that an exporter adds to histograms.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_' || it == ':'));
    words
        .filter(|word| word.starts_with("backpressure_"))
        .map(|word| {
            let endings = ["_bucket", "_sum", "_count"];
            endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word)
        })
        .collect()
}

fn alerts() -> Vec<&'static str> {
    RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_are_documented() {
    for name in metrics(RULES).union(&metrics(DASHBOARD)) {
        assert!(METRICS.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[test]
fn each_metric_that_is_documented_is_in_the_dashboard() {
    let table = METRICS.lines().filter(|line| line.starts_with("| `backpressure_"));
    let documented: BTreeSet<_> =
        table.flat_map(|row| metrics(row.split('|').nth(1).unwrap_or(row))).collect();
    let bounds = BTreeSet::from([
        "backpressure_limit_min",
        "backpressure_limit_max",
        "backpressure_retry_wait_seconds",
    ]);
    let shown = metrics(DASHBOARD).union(&bounds).copied().collect();
    let missing: Vec<_> = documented.difference(&shown).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_alert_has_a_section_in_the_runbook_and_series_that_fire_it_and_that_do_not() {
    assert!(!alerts().is_empty());
    for alert in alerts() {
        assert!(RUNBOOK.contains(&format!("\n## {alert}\n")), "{alert} has no section");
        let link = format!("runbook: \"README.md#{}\"", alert.to_lowercase());
        assert!(RULES.contains(&link), "{alert} has no link to the runbook");
        let tests: Vec<_> = RULES_TEST
            .split("eval_time:")
            .filter(|it| it.contains(&format!("alertname: {alert}\n")))
            .collect();
        let fires = tests.iter().filter(|it| it.contains("exp_labels")).count();
        assert!(fires > 0, "{alert} is not tested");
    }
}

/// Needs promtool, which comes with Prometheus.
#[test]
#[ignore = "needs promtool"]
fn prometheus_reads_the_rules_and_each_alert_fires_where_it_should() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations");
    for arguments in [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(folder).output();
        let output = output.expect("promtool is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
