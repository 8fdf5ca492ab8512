//! Storms of an hour and a half in virtual time, scraped once a minute: each alert fires where it should, and nowhere
//! else.
//!
//! `RECORD_ALERTS=1` writes the series to `docs/operations/storms.test.yml`, which promtool tests without a storm.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use backpressure_core::Aimd;
use backpressure_tests::memory_store::{Behaviour, MemoryStore};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::policy::PolicySet;
use tower_backpressure::server::{OnStoreFailure, QuotaLayer, SharedQuota};
use tower_backpressure::{
    AdmissionLayer, BreakerLayer, Outcome, QueueBounds, Quota, RetryBudget, RetryLayer,
};

use crate::series::Series;

const MINUTE: Duration = Duration::from_secs(60);
/// Until when no alert has fired for [`LOOKED_AT`], when the troubles begin, and when it is looked at what has fired
/// since. In minutes.
const WELL: u32 = 65;
const LOOKED_AT: u32 = 20;
const TROUBLE: u32 = 70;
const END: u32 = 98;

/// The alerts that fire for each policy in the trouble. Policies without one are left alone.
const FIRING: [(&str, &[&str]); 13] = [
    ("calm", &[]),
    ("brief", &[]),
    ("overloaded", &["BurnsErrorBudgetFast", "BurnsErrorBudgetSlowly", "QueueStands"]),
    ("collapsed", &["BurnsErrorBudgetFast", "BurnsErrorBudgetSlowly", "LimitAtMinimum"]),
    ("tail", &["TailGrows"]),
    ("retries", &["RetryStorm"]),
    ("budget", &["RetryBudgetEmpty"]),
    ("breaker", &["BurnsErrorBudgetFast", "BurnsErrorBudgetSlowly", "OriginKeepsFailing"]),
    ("leaving", &["CallersLeave"]),
    ("twice", &["RejectedTwice"]),
    ("inside", &["BurnsErrorBudgetFast", "BurnsErrorBudgetSlowly"]),
    ("store", &["QuotaStoreFails"]),
    ("store-open", &["QuotaStoreFails", "QuotaFailsOpen"]),
];

/// May fire or not: a queue under a limit near one is empty now and then.
const EITHER: (&str, &str) = ("collapsed", "QueueStands");

const SEED: u64 = 1;

type Body = Full<Bytes>;

#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn minutes(self) -> f64 {
        self.0.elapsed().as_secs_f64() / 60.0
    }

    fn is_trouble(self) -> bool {
        self.minutes() >= f64::from(TROUBLE)
    }
}

fn get() -> Request<Body> {
    Request::get("http://origin/").body(Body::default()).expect("a request")
}

fn respond(status: u16) -> Result<Response<Body>, Infallible> {
    Ok(Response::builder().status(status).body(Body::default()).expect("a response"))
}

/// A service whose requests take `time`, of which the layers know nothing.
fn takes(
    time: impl Fn() -> Duration + Clone,
) -> impl Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send,
> + Clone {
    service_fn(move |_| {
        let time = time();
        async move {
            sleep(time).await;
            respond(200)
        }
    })
}

/// Sends `rate` requests a second until the end; callers leave after `patience`.
async fn send<S, F>(service: S, rate: F, patience: Duration)
where
    S: Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    F: Fn() -> f64,
{
    let mut calls = JoinSet::new();
    loop {
        while calls.try_join_next().is_some() {}
        let call = service.clone().oneshot(get());
        calls.spawn(async move { drop(timeout(patience, call).await) });
        // Exponential gaps: requests of callers that do not know of each other.
        sleep(Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / rate())).await;
    }
}

/// All services and their callers.
fn storms(clock: Clock) -> JoinSet<()> {
    let mut storms = JoinSet::new();
    let during =
        move |calm: f64, trouble: f64| move || if clock.is_trouble() { trouble } else { calm };
    let failing = move |percent: u8| {
        service_fn(move |_: Request<Body>| {
            let fails = clock.is_trouble() && fastrand::u8(..100) < percent;
            async move { respond(if fails { 503 } else { 200 }) }
        })
    };
    let long = Duration::from_secs(30);
    let ms = Duration::from_millis;

    let fixed = |name: &str| AdmissionLayer::fixed(name, 2).layer(takes(move || ms(200)));
    storms.spawn(send(fixed("calm"), || 1.0, long));
    let brief = move || if (10.0..10.5).contains(&clock.minutes()) { 15.0 } else { 1.0 };
    storms.spawn(send(fixed("brief"), brief, long));
    storms.spawn(send(fixed("overloaded"), during(1.0, 40.0), long));

    // In trouble, its dependency has no room for any of its requests.
    let dependent = service_fn(move |_: Request<Body>| async move {
        sleep(ms(400)).await;
        let mut response = respond(if clock.is_trouble() { 500 } else { 200 })?;
        if clock.is_trouble() {
            response.extensions_mut().insert(Outcome::Overload);
        }
        Ok::<_, Infallible>(response)
    });
    let collapsed = AdmissionLayer::with_limit("collapsed", Aimd::new().min(1)).layer(dependent);
    storms.spawn(send(collapsed, || 10.0, long));

    let tail =
        move || if clock.is_trouble() && fastrand::u8(..8) == 0 { ms(4_000) } else { ms(80) };
    storms.spawn(send(AdmissionLayer::fixed("tail", 64).layer(takes(tail)), || 4.0, long));

    let retries = RetryLayer::named("retries").budget(RetryBudget::new(1.0)).layer(failing(50));
    storms.spawn(send(retries, || 2.0, long));
    storms.spawn(send(RetryLayer::named("budget").layer(failing(100)), during(2.0, 10.0), long));
    storms.spawn(send(BreakerLayer::new("breaker").layer(failing(100)), || 2.0, long));

    let queue = QueueBounds::new(100, long);
    let second = move || if clock.is_trouble() { ms(1_000) } else { ms(100) };
    let leaving = AdmissionLayer::fixed("leaving", 1).queue(queue).layer(takes(second));
    storms.spawn(send(leaving, during(3.0, 1.0), ms(800)));

    let inside = AdmissionLayer::fixed("inside", 1).queue(QueueBounds::NONE);
    let inside = inside.layer(takes(move || if clock.is_trouble() { ms(500) } else { ms(1) }));
    storms.spawn(send(AdmissionLayer::fixed("twice", 64).layer(inside), || 2.0, long));

    let store = MemoryStore::default();
    for (name, on_failure) in
        [("store", OnStoreFailure::LocalShare), ("store-open", OnStoreFailure::Open)]
    {
        let shared = SharedQuota::new(store.clone()).on_failure(on_failure);
        let quota = QuotaLayer::per(name, |_: &Parts| Some("a".into()), Quota::per_second(100));
        storms.spawn(send(quota.shared(shared).layer(takes(move || ms(5))), || 2.0, long));
    }
    storms.spawn(async move {
        sleep(MINUTE * TROUBLE).await;
        store.behave(Behaviour::Fails);
        std::future::pending().await
    });
    storms
}

/// The series of all storms, scraped once a minute, and the last scrape.
async fn record() -> (Series, String) {
    // Limits that adapt, and samples of requests, use chance.
    fastrand::seed(SEED);
    let buckets = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let recorder =
        PrometheusBuilder::new().set_buckets(&buckets).expect("buckets").build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let scrape = recorder.handle();
    let _policies = PolicySet::parse("[admission.filed]\n[default]\nadmission = \"filed\"\n");
    let _storms = storms(Clock(Instant::now()));
    let mut ticks = interval(MINUTE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut series = Series::default();
    for _ in 0..=END {
        ticks.tick().await;
        series.add(&scrape.render());
    }
    (series, scrape.render())
}

/// The tests for promtool: what fires when all is well, and what at the end.
fn tests(series: &Series) -> String {
    let firing: String = FIRING
        .iter()
        .flat_map(|(policy, alerts)| alerts.iter().map(move |alert| (policy, alert)))
        .map(|(policy, alert)| {
            format!(
                "          - {{ labels: '{{alertname=\"Backpressure{alert}\", policy=\"{policy}\"}}', value: 1 }}\n"
            )
        })
        .collect();
    let (policy, alert) = EITHER;
    let fired = |minutes| {
        let firing = |labels: &str| {
            format!("max_over_time(ALERTS{{alertstate=\"firing\"{labels}}}[{minutes}m])")
        };
        let either = format!(", alertname=\"Backpressure{alert}\", policy=\"{policy}\"");
        format!("count by (alertname, policy) ({} unless {})", firing(""), firing(&either))
    };
    format!(
        "# Recorded from storms in virtual time by tests/tests/monitoring/storms.rs, scraped once a minute:\n\
         # RECORD_ALERTS=1 cargo test -p backpressure-tests --test monitoring storms -- --ignored\n\
         rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - name: storms\n    interval: 1m\n    input_series:\n{}    promql_expr_test:\n\
         \x20     - expr: '{}'\n        eval_time: {WELL}m\n        exp_samples: []\n\
         \x20     - expr: '{}'\n        eval_time: {END}m\n        exp_samples:\n{firing}",
        series.yaml(),
        fired(LOOKED_AT),
        fired(END - TROUBLE)
    )
}

/// Needs promtool, which comes with Prometheus.
#[tokio::test(start_paused = true)]
#[ignore = "needs promtool, and takes a minute"]
async fn storms_fire_the_alerts_that_they_should_and_no_others() {
    let (series, scrape) = record().await;
    let scraped = crate::metrics(&scrape);
    let missing: Vec<_> =
        crate::metrics(crate::DASHBOARD).into_iter().filter(|it| !scraped.contains(it)).collect();
    assert!(missing.is_empty(), "in the dashboard, and not in a scrape: {missing:?}");
    let text = tests(&series);
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(operations.join("rules.yml"), folder.path().join("rules.yml")).expect("rules");
    std::fs::write(folder.path().join(crate::STORMS_TEST), &text).expect("a file");
    crate::promtool(folder.path(), &["test", "rules", crate::STORMS_TEST]);
    if std::env::var_os("RECORD_ALERTS").is_some() {
        std::fs::write(operations.join(crate::STORMS_TEST), &text).expect("a file");
    }
}

#[test]
fn each_alert_is_fired_by_a_storm() {
    let fired = |alert: &str| FIRING.iter().any(|(_, fired)| fired.contains(&alert));
    for alert in crate::alerts() {
        let name = alert.strip_prefix("Backpressure").expect("the names of our alerts");
        assert!(fired(name), "no storm fires {alert}");
    }
}
