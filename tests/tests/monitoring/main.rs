//! The monitoring kit in docs/operations names what there is.

mod series;
mod storms;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::server::QuotaLayer;
use tower_backpressure::{AdmissionLayer, BreakerLayer, QueueBounds, Quota, RetryLayer};

const SECOND: Duration = Duration::from_secs(1);

const RULES: &str = include_str!("../../../docs/operations/rules.yml");
const RULES_TEST: &str = include_str!("../../../docs/operations/rules.test.yml");
/// Series that were recorded from storms.
const STORMS_TEST: &str = "storms.test.yml";
const DASHBOARD: &str = include_str!("../../../docs/operations/dashboard.json");
const RUNBOOK: &str = include_str!("../../../docs/operations/README.md");
/// Where an on-call person finds it: a pager shows no folder.
const RUNBOOK_URL: &str =
    "https://github.com/tower-backpressure/tower-backpressure/blob/main/docs/operations/README.md";
const METRICS: &str = include_str!("../../../docs/metrics.md");

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
fn each_alert_has_a_section_in_the_runbook_and_series_that_fire_it() {
    assert!(!alerts().is_empty());
    for alert in alerts() {
        assert!(RUNBOOK.contains(&format!("\n## {alert}\n")), "{alert} has no section");
        let link = format!("runbook_url: \"{RUNBOOK_URL}#{}\"", alert.to_lowercase());
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations");
    promtool(&folder, &["check", "rules", "rules.yml"]);
    promtool(&folder, &["test", "rules", "rules.test.yml", STORMS_TEST]);
}

/// Runs promtool, which has to find no fault.
fn promtool(folder: &Path, arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output();
    let output = output.expect("promtool is installed");
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Layers of both ends, of which one rejects, under a real exporter; what a scrape then reads.
async fn scrape() -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let get = || Request::get("http://origin/").body(Full::<Bytes>::default()).expect("a request");
    let served = service_fn(async |_: Request<Full<Bytes>>| {
        sleep(SECOND).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let failing = service_fn(async |_: Request<Full<Bytes>>| {
        let response = Response::builder().status(503).header("retry-after", "1");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).expect("a response"))
    });
    let admission = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(1, SECOND / 2));
    let admitted = admission.layer(served);
    let mut calls = JoinSet::new();
    (0..20).for_each(|_| drop(calls.spawn(admitted.clone().oneshot(get()))));
    calls.join_all().await;
    let quota = QuotaLayer::per("quota", |_: &Parts| Some("a".into()), Quota::per_hour(1));
    let quota = quota.layer(failing);
    let retries = RetryLayer::named("client").layer(failing);
    let breaker = BreakerLayer::new("breaker").layer(failing);
    for _ in 0..30 {
        quota.clone().oneshot(get()).await.expect("infallible");
        retries.clone().oneshot(get()).await.expect("infallible");
        breaker.clone().oneshot(get()).await.expect("infallible");
    }
    recorder.handle().render()
}

#[tokio::test(start_paused = true)]
async fn a_scrape_has_documented_metrics_only_with_a_help_text_each() {
    let scrape = scrape().await;
    let names: Vec<_> = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(names.len() >= 16, "{names:?}");
    for name in names.iter().filter_map(|line| line.split(' ').next()) {
        assert!(METRICS.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        assert!(scrape.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
}

/// Needs promtool, which comes with Prometheus.
#[tokio::test(start_paused = true)]
#[ignore = "needs promtool"]
async fn prometheus_finds_no_fault_with_a_scrape() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is installed");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(scrape().await.as_bytes()).expect("promtool reads all of it");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
